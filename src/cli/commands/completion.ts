import { defineCommand, required } from '../command.ts'
import { completionScripts, shells } from '../completion/scripts.ts'
import { line } from '../io.ts'
import { oneOf } from '../parse/number.ts'

export default defineCommand({
  description:
    'Prints a script that lets your shell complete commands, options, and the names of vms, templates and images.',
  examples: [
    { line: 'eval "$(ramet completion bash)"', does: 'For this bash; put it into ~/.bashrc for all.' },
    { line: 'ramet completion fish > ~/.config/fish/completions/ramet.fish', does: 'For fish.' },
  ],
  arguments: { shell: required('bash, zsh or fish', shells) },
  options: {},
  run: async ({ args }, context) => {
    await line(context.io, completionScripts[oneOf(...shells)(args.shell)])
    return undefined
  },
})
