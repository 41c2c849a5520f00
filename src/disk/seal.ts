import { type FileHandle, rename, stat } from 'node:fs/promises'
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
  await naming(path, async () => {
    if (await isSealedAs(path, id)) return
    await makeWritable(path)
    await withPlainFile(path, 'write', async (handle) => {
      const { nlink } = await handle.stat()
      if (nlink !== 1)
        throw new RametError('IN_USE', { message: `${path} has a second name, through which it could be written` })
      const { header, start } = await readHeader(handle)
      await writeAtStart(handle, rewriteHeader(start, header, { identity: { ...header.identity, own: id } }))
      faultPoint('disk.seal.header')
      await finishFile(handle, { mode: baseMode, owner: process.getuid?.() === 0 ? { uid: 0, gid: 0 } : undefined })
    })
  })
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
  await naming(to, async () => {
    await makeWritable(to)
    await withPlainFile(to, 'write', async (handle) => {
      const { header, start } = await readHeader(handle)
      const { base } = header.identity
      await writeAtStart(handle, rewriteHeader(start, header, { identity: base === undefined ? {} : { base } }))
      await finishFile(handle, { owner })
    })
  })
}

/** @throws RametError `IN_USE` for a file that is a base of another id */
async function isSealedAs(path: string, id: string): Promise<boolean> {
  return withPlainFile(path, 'read', async (handle) => {
    const { own } = (await readHeader(handle)).header.identity
    if (own !== undefined && own !== id)
      throw new RametError('IN_USE', { message: `${path} is already the base ${own}` })
    return own === id && ((await handle.stat()).mode & 0o7777) === baseMode
  })
}

/** Without root even the owner cannot open a sealed file for writing. */
async function makeWritable(path: string): Promise<void> {
  await withPlainFile(path, 'read', (handle) => handle.chmod(0o600))
}

async function writeAtStart(handle: FileHandle, area: Buffer): Promise<void> {
  await handle.write(area, 0, area.length, 0)
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
