import { attach } from '../attach.ts'
import { defineCommand, flag, list, required, restRequired } from '../command.ts'
import { line } from '../io.ts'
import { attachOptions } from '../options/attach.ts'
import { parseVariable } from '../parse/pair.ts'
import { resolveVm } from '../resolve.ts'

export default defineCommand({
  description:
    'Runs a command in a vm and passes on its output and its exit code (128 and the number of the signal that ended it). The words are given to it as they are; for a line with pipes use sh -c. It survives a restart of the daemon: output goes on where it was. When the vm is paused to disk this ends with exit code 4, and the command goes on with the vm. With --detach it goes on by itself; ramet ps lists it.',
  examples: [
    { line: 'ramet exec web uname -a', does: 'Runs one command.' },
    { line: 'ramet exec web sh -c "ls /srv | wc -l"', does: 'Runs a line in the shell of the guest.' },
    { line: 'tar c . | ramet exec -i web tar x -C /srv', does: 'Sends it what comes in here.' },
  ],
  arguments: {
    vm: required('vm, by name or id', 'vm'),
    command: restRequired('command and its arguments'),
  },
  options: {
    ...attachOptions,
    env: list('-e, --env <name=value>', 'environment; a bare name takes the value here', (text) => parseVariable(text)),
    detach: flag('-d, --detach', 'leave it running, and print its id'),
  },
  passThrough: true,
  ownTimeout: true,
  run: async ({ args, options }, context) => {
    const ramet = await context.ramet()
    const vm = await resolveVm(ramet, args.vm, context.signal)
    const common = { env: Object.fromEntries(options.env), cwd: options.workdir, user: options.user }
    if (!options.detach)
      return await attach(context, vm, {
        command: args.command,
        interactive: options.interactive,
        tty: options.tty,
        timeoutMs: context.timeoutMs,
        ...common,
      })
    const handle = await vm.commands.run(args.command, {
      background: true,
      env: common.env,
      signal: context.signal,
      ...(common.cwd === undefined ? {} : { cwd: common.cwd }),
      ...(common.user === undefined ? {} : { user: common.user }),
      ...(context.timeoutMs === undefined ? {} : { timeoutMs: context.timeoutMs }),
    })
    await handle.disconnect()
    await line(context.io, context.format === 'json' ? JSON.stringify(handle.exec, null, 2) : handle.execId)
    return undefined
  },
})
