import { defineCommand, required } from '../command.ts'
import { line } from '../io.ts'
import { resolveSnapshot } from '../resolve.ts'

export default defineCommand({
  description:
    'Shows all that is known of a snapshot, as JSON: of which vm and moment it is, what its memory and disks take, in which order pages are stored and why, and how long its making took.',
  examples: [{ line: 'ramet snapshot inspect before-upgrade', does: 'Everything about it.' }],
  arguments: { snapshot: required('snapshot, by name or id', 'snapshot') },
  options: {},
  run: async ({ args }, context) => {
    const snapshot = await resolveSnapshot(await context.ramet(), args.snapshot, context.signal)
    await line(context.io, context.format === 'name' ? snapshot.name : JSON.stringify(snapshot.info, null, 2))
    return undefined
  },
})
