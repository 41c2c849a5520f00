import { defineCommand, flag, restRequired } from '../command.ts'
import { eachVm } from '../each-vm.ts'

export default defineCommand({
  description:
    'Stops vms from executing. Memory and connections stay as they are, and the time to live stands still. With --to-disk their memory is written to disk and their processes end, so that they take no memory of the host.',
  examples: [
    { line: 'ramet pause web', does: 'Stops web where it is.' },
    { line: 'ramet pause --to-disk web', does: 'Puts it on disk, for as long as one likes.' },
    { line: 'ramet resume web', does: 'Lets it go on from there.' },
  ],
  arguments: { vm: restRequired('vms, by name or id', 'vm') },
  options: { toDisk: flag('--to-disk', 'write memory to disk, and take none of the host’s') },
  run: ({ args, options: { toDisk } }, context) =>
    eachVm(context, args.vm, 'pausing', (vm, options) => vm.pause({ ...options, ...(toDisk ? { toDisk } : {}) })),
})
