import { pipeline } from 'node:stream/promises'
import type { Problem } from '../../api/problem.ts'
import { RametApiError } from '../../client/errors.ts'
import { errnoOf } from '../../shared/errors.ts'
import { defineCommand, required } from '../command.ts'
import { note } from '../io.ts'
import { resolveSnapshot } from '../resolve.ts'
import { UsageError } from '../show-error.ts'
import { writeWhole } from '../write-whole.ts'

export default defineCommand({
  description:
    'Writes a snapshot to one file, a tar, to be imported on another host or kept. The image that its disks stand on is not in it, nor the memory of a template that it shares (make it with --full for one that needs no template): the file names them, and an import without them is refused. With - it goes to the standard output. A file that is there under that name already is replaced once the new one is whole, and left as it was when this is interrupted before; a pipe or a device is written into.',
  examples: [
    { line: 'ramet snapshot export before-upgrade upgrade.tar', does: 'Into a file.' },
    { line: 'ramet snapshot export warm - | ssh other ramet snapshot import -', does: 'Straight to another host.' },
  ],
  arguments: {
    snapshot: required('snapshot, by name or id', 'snapshot'),
    file: required('file to write, or - for the standard output', 'file'),
  },
  options: {},
  run: async ({ args }, context) => {
    const { io, signal } = context
    if (args.file === '-' && io.stdout.isTTY === true)
      throw new UsageError('an archive is nothing for a terminal', 'Give a FILE, or lead the output elsewhere.')
    const snapshot = await resolveSnapshot(await context.ramet(), args.snapshot, signal)
    const content = await snapshot.export({ signal })
    const explain = (error: unknown) => whyBroken(snapshot, error, signal)
    if (args.file === '-') {
      await pipeline(content, io.stdout, { signal, end: false }).catch(explain)
      return undefined
    }
    await writeWhole(args.file, content, signal).catch(explain)
    await note(io, `wrote ${args.file}`)
    return undefined
  },
})

/** A stream that breaks says nothing of why; the snapshot does, if it was found damaged. */
async function whyBroken(
  snapshot: { refresh(options: { signal: AbortSignal }): Promise<{ failure?: Problem | undefined }> },
  error: unknown,
  signal: AbortSignal,
): Promise<never> {
  const isBroken = ['ECONNRESET', 'ERR_STREAM_PREMATURE_CLOSE'].includes(errnoOf(error) ?? '')
  if (!isBroken || signal.aborted) throw error
  const { failure } = await snapshot.refresh({ signal }).catch(() => ({ failure: undefined }))
  throw failure === undefined ? error : new RametApiError(failure)
}
