import { defineCommand, flag, restRequired } from '../command.ts'
import { eachVm } from '../each-vm.ts'

export default defineCommand({
  description:
    'Asks the guests to shut down and waits until they have. A guest that does not within --timeout is left running, or ended with --force.',
  examples: [
    { line: 'ramet stop web', does: 'Shuts web down.' },
    { line: 'ramet stop web --timeout 10s --force', does: 'The same, and ends it if it takes longer.' },
  ],
  arguments: { vm: restRequired('vms, by name or id', 'vm') },
  options: { force: flag('-f, --force', 'end a guest that does not shut down in time') },
  ownTimeout: true,
  run: ({ args, options }, context) =>
    eachVm(context, args.vm, 'stopping', (vm, action) =>
      vm.stop({
        ...action,
        force: options.force,
        ...(context.timeoutMs === undefined ? {} : { timeoutMs: context.timeoutMs }),
      }),
    ),
})
