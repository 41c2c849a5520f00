import { createWriteStream } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import { RametError } from '../../shared/errors.ts'
import { defineCommand, required } from '../command.ts'
import { note } from '../io.ts'
import { resolveSnapshot } from '../resolve.ts'
import { UsageError } from '../show-error.ts'

export default defineCommand({
  description:
    'Writes a snapshot to one file, a tar, to be imported on another host or kept. The image that its disks stand on is not in it, nor the memory of a template that it shares (make it with --full for one that needs no template): the file names them, and an import without them is refused. With - it goes to the standard output. A file that is there under that name already is replaced once the new one is whole.',
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
    if (args.file === '-') {
      await pipeline(content, io.stdout, { signal, end: false })
      return undefined
    }
    const partial = `${args.file}.partial`
    try {
      await pipeline(content, createWriteStream(partial, { mode: 0o600 }), { signal })
      await rename(partial, args.file)
    } catch (error) {
      await rm(partial, { force: true })
      if (!isFileError(error)) throw error
      throw new RametError('INVALID_ARGUMENT', {
        message: `${args.file} cannot be written`,
        cause: error,
        remediation: 'Check the path, and that there is room.',
      })
    }
    await note(io, `wrote ${args.file}`)
    return undefined
  },
})

/** Whether the file system here refused, rather than the daemon, its connection, or whoever interrupted. */
function isFileError(error: unknown): boolean {
  if (!(error instanceof Error) || !('code' in error)) return false
  return 'path' in error || ['ENOSPC', 'EDQUOT', 'EFBIG', 'EIO'].includes(String(error.code))
}
