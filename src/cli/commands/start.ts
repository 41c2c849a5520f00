import { defineCommand, restRequired } from '../command.ts'
import { eachVm } from '../each-vm.ts'

export default defineCommand({
  description:
    'Boots vms that are stopped or were only created, and waits until their agents answer. Their disks are as they were; their memory is new.',
  examples: [{ line: 'ramet start web', does: 'Boots web.' }],
  arguments: { vm: restRequired('vms, by name or id', 'vm') },
  options: {},
  run: ({ args }, context) => eachVm(context, args.vm, 'starting', (vm, options) => vm.start(options)),
})
