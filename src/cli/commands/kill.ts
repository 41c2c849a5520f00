import { defineCommand, restRequired } from '../command.ts'
import { eachVm } from '../each-vm.ts'

export default defineCommand({
  description:
    'Ends vms at once, as pulling the plug does: what the guest had not written to its disks is lost. The disks stay; start boots it again.',
  examples: [{ line: 'ramet kill web', does: 'Ends web at once.' }],
  arguments: { vm: restRequired('vms, by name or id', 'vm') },
  options: {},
  run: ({ args }, context) => eachVm(context, args.vm, 'killing', (vm, options) => vm.kill(options)),
})
