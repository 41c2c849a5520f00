import { defineCommand, restRequired } from '../command.ts'
import { eachVm } from '../each-vm.ts'

export default defineCommand({
  description: 'Stops vms from executing. Memory and connections stay as they are, and the time to live stands still.',
  examples: [
    { line: 'ramet pause web', does: 'Stops web where it is.' },
    { line: 'ramet resume web', does: 'Lets it go on from there.' },
  ],
  arguments: { vm: restRequired('vms, by name or id', 'vm') },
  options: {},
  run: ({ args }, context) => eachVm(context, args.vm, 'pausing', (vm, options) => vm.pause(options)),
})
