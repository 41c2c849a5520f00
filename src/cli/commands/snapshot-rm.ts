import type { Snapshot } from '../../client/index.ts'
import { defineCommand, restRequired } from '../command.ts'
import { eachOf } from '../each-vm.ts'
import { resolveSnapshot } from '../resolve.ts'

export default defineCommand({
  description:
    'Removes snapshots. One from which the memory of a restored vm still comes is refused, and so is one that is being exported. Vms that were restored of it and stand on their own are not concerned.',
  examples: [{ line: 'ramet snapshot rm before-upgrade', does: 'Removes it.' }],
  arguments: { snapshot: restRequired('snapshots, by name or id', 'snapshot') },
  options: {},
  run: async ({ args }, context) => {
    const ramet = await context.ramet()
    const snapshots: Snapshot[] = []
    for (const text of args.snapshot) snapshots.push(await resolveSnapshot(ramet, text, context.signal))
    return await eachOf(context, snapshots, 'removing', (snapshot, action) => snapshot.remove(action))
  },
})
