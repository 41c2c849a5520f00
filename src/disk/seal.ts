import { rename, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { assert } from '../shared/assert.ts'
import { errnoOf, RametError } from '../shared/errors.ts'
import { faultPoint } from '../shared/fault.ts'
import { type FileOwner, finishFile, syncDirectory, withPlainFile } from './files.ts'
import { naming, readHeader } from './layer.ts'
import { rewriteHeader } from './qcow2/encode.ts'

/** Bases can be read by every vm's user, and written by none. */
export const baseMode = 0o444

/**
 * Gives a disk that nobody has open its identity as a base, and takes away everybody's right to write
 * to it. Idempotent; a file that already has another identity is not changed.
 *
 * @param id id of the base, as `newId('base')` gives
 * @throws RametError `IMAGE_INVALID`, `IN_USE` when the file has a second name or another identity
 */
export async function sealInPlace(path: string, id: string): Promise<void> {
  await naming(path, () =>
    withPlainFile(path, 'write', async (handle) => {
      const { nlink, uid } = await handle.stat()
      if (nlink !== 1)
        throw new RametError('IN_USE', { message: `${path} has a second name, through which it could be written` })
      const { header, start } = await readHeader(handle)
      const { own } = header.identity
      if (own !== undefined && own !== id)
        throw new RametError('IN_USE', { message: `${path} is already the base ${own}` })
      if (own === undefined) {
        const area = rewriteHeader(start, header, { identity: { ...header.identity, own: id } })
        await handle.write(area, 0, area.length, 0)
      }
      faultPoint('disk.seal.header')
      const daemon = process.getuid?.() ?? uid
      const owner: FileOwner | undefined = daemon === 0 ? { uid: 0, gid: 0 } : undefined
      await finishFile(handle, { mode: baseMode, owner })
    }),
  )
}

/**
 * Makes a vm's own delta the base of a template: moved, then sealed. Idempotent: after a crash the same
 * call finishes what was begun, and `unsealDisk` undoes it.
 *
 * @throws RametError as `sealInPlace`; `BASE_DAMAGED` when the delta is at neither place
 */
export async function sealDelta(from: string, to: string, id: string): Promise<void> {
  await moveDisk(from, to)
  faultPoint('disk.seal.moved')
  await sealInPlace(to, id)
}

/**
 * Undoes `sealDelta`: gives a sealed delta back to its vm, to be written again, without its identity as
 * a base. Only while nothing stands on it.
 */
export async function unsealDisk(from: string, to: string, owner?: FileOwner): Promise<void> {
  await moveDisk(from, to)
  await naming(to, () =>
    withPlainFile(to, 'write', async (handle) => {
      const { header, start } = await readHeader(handle)
      const { base } = header.identity
      const area = rewriteHeader(start, header, { identity: base === undefined ? {} : { base } })
      await handle.write(area, 0, area.length, 0)
      await finishFile(handle, { owner })
    }),
  )
}

async function moveDisk(from: string, to: string): Promise<void> {
  // The backing name is relative: it must say the same from both places.
  const [fromDirectory, toDirectory] = [dirname(resolve(from)), dirname(resolve(to))]
  assert(
    dirname(dirname(fromDirectory)) === dirname(dirname(toDirectory)),
    `a disk moves between directories of one depth: ${from}, ${to}`,
  )
  if (await exists(to)) {
    if (await exists(from)) throw new RametError('IN_USE', { message: `${to} exists already` })
    return
  }
  await naming(from, () => rename(from, to))
  await syncDirectory(toDirectory)
  await syncDirectory(fromDirectory)
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false
    throw error
  }
}
