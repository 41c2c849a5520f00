import { loginShell } from '../../client/pty.ts'
import { attach } from '../attach.ts'
import { defineCommand, required, value } from '../command.ts'
import { attachOptions } from '../options/attach.ts'
import { resolveVm } from '../resolve.ts'

export default defineCommand({
  description:
    'Opens a login shell in a vm, with a terminal: bash if the image has it, else sh. Leave it with exit or Ctrl-D. Without a terminal here it runs what comes in as a script.',
  examples: [
    { line: 'ramet shell web', does: 'A shell in web.' },
    { line: 'ramet shell web < script.sh', does: 'Runs a script in web.' },
  ],
  arguments: { vm: required('vm, by name or id', 'vm') },
  options: { workdir: attachOptions.workdir, user: value('-u, --user <user>', 'user; root when left out') },
  ownTimeout: true,
  run: async ({ args, options }, context) => {
    const ramet = await context.ramet()
    const vm = await resolveVm(ramet, args.vm, context.signal)
    const { stdin, stdout } = context.io
    return await attach(context, vm, {
      command: loginShell,
      interactive: true,
      tty: stdin.isTTY === true && stdout.isTTY === true,
      cwd: options.workdir,
      user: options.user,
      timeoutMs: context.timeoutMs,
    })
  },
})
