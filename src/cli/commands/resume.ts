import { defineCommand, restRequired } from '../command.ts'
import { eachVm } from '../each-vm.ts'

export default defineCommand({
  description: 'Lets paused vms go on where they were. Their clocks are set right first.',
  examples: [{ line: 'ramet resume web', does: 'Lets web go on.' }],
  arguments: { vm: restRequired('vms, by name or id', 'vm') },
  options: {},
  run: ({ args }, context) => eachVm(context, args.vm, 'resuming', (vm, options) => vm.resume(options)),
})
