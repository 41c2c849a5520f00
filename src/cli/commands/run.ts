import { attach } from '../attach.ts'
import { defineCommand, flag, parsed, required, rest, value } from '../command.ts'
import { note } from '../io.ts'
import { attachOptions } from '../options/attach.ts'
import { machineOptions, machineRequest } from '../options/machine.ts'
import { idleHelp, runOptions, runRequest } from '../options/run.ts'
import { showOne } from '../output.ts'
import { parseRestart } from '../parse/restart.ts'

export default defineCommand({
  description:
    'Boots a vm from an image and waits until its agent answers. With a command it runs that in the vm and passes on its exit code; the vm goes on running afterwards unless --rm is given. Without one it prints the name of the vm. Once the command begins, what follows is the command’s.\n\n' +
    idleHelp,
  examples: [
    { line: 'ramet run micro --name first', does: 'Boots a small vm called first.' },
    { line: 'ramet run --rm micro uname -a', does: 'Boots one, runs a command in it, and removes it.' },
    { line: 'ramet run --rm -it -m 512M debian bash', does: 'A shell in a fresh Debian.' },
  ],
  arguments: {
    image: required('image to boot from', 'image'),
    command: rest('command to run in it, with its arguments'),
  },
  options: {
    name: value('-n, --name <name>', 'name; invented when left out'),
    rm: flag('--rm', 'remove the vm when the command has ended'),
    ...attachOptions,
    ...machineOptions,
    ...runOptions,
    restart: parsed('--restart <policy>', 'start it again by itself: no, always or on-failure[:N]', parseRestart),
  },
  passThrough: true,
  run: async ({ args, options }, context) => {
    const ramet = await context.ramet()
    const vm = await ramet.vms.create({
      image: args.image,
      ...(options.name === undefined ? {} : { name: options.name }),
      ...machineRequest(options),
      ...runRequest(options),
      ...(options.restart === undefined ? {} : { restart: options.restart }),
      ...context.action(`booting ${options.name ?? args.image}`),
    })
    context.progress.clear()
    if (args.command.length === 0) {
      await showOne(context, vm.info, vm.name)
      return undefined
    }
    try {
      return await attach(context, vm, {
        command: args.command,
        interactive: options.interactive,
        tty: options.tty,
        cwd: options.workdir,
        user: options.user,
      })
    } finally {
      if (options.rm) await vm.remove({ force: true })
      else if (!context.quiet)
        await note(context.io, `ramet: ${vm.name} runs on; remove it with: ramet rm -f ${vm.name}`)
    }
  },
})
