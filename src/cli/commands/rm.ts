import type { Vm } from '../../client/index.ts'
import { defineCommand, flag, rest } from '../command.ts'
import { eachOf } from '../each-vm.ts'
import { resolveVms } from '../resolve.ts'
import { UsageError } from '../show-error.ts'

export default defineCommand({
  description:
    'Removes vms and their disks for good. One that runs is refused unless --force ends it first. Templates and images stay: see ramet template rm and ramet image rm.',
  examples: [
    { line: 'ramet rm web', does: 'Removes web, which is stopped.' },
    { line: 'ramet rm --force worker-0 worker-1', does: 'Ends and removes two.' },
    { line: 'ramet rm --all --force', does: 'Removes every vm there is.' },
  ],
  arguments: { vm: rest('vms, by name or id', 'vm') },
  options: {
    force: flag('-f, --force', 'end those that run first'),
    all: flag('-a, --all', 'all vms'),
  },
  run: async ({ args, options }, context) => {
    if (options.all === args.vm.length > 0)
      throw new UsageError('name vms to remove, or give --all', 'See `ramet ls --all` for the names there are.')
    const ramet = await context.ramet()
    const vms = options.all
      ? await ramet.vms.list({ signal: context.signal })
      : await resolveVms(ramet, args.vm, context.signal)
    return await eachOf<Vm>(context, vms, 'removing', (vm, action) => vm.remove({ ...action, force: options.force }))
  },
})
