import { link, mkdir, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { errnoOf, RametError } from '../shared/errors.ts'
import { type FileOwner, finishFile, syncDirectory, withPlainFile } from './files.ts'
import { naming } from './layer.ts'
import { baseMode } from './seal.ts'

// A delta that stands still while children read it has two names: its vm's, by which that vm's QEMU goes on to
// read it, and the catalogue's, by which it outlives the vm. Meanwhile nobody may write to it, its vm included.

/**
 * Gives a frozen delta its second name and takes away everybody's right to write to it. Idempotent.
 *
 * @param to a name two levels below the data directory, as `from` is: backing names are relative
 * @throws RametError `IN_USE` when `to` is another file
 */
export async function lendDisk(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true, mode: 0o711 })
  await naming(from, () =>
    withPlainFile(from, 'read', async (handle) => {
      await link(from, to).catch((error: unknown) => {
        if (errnoOf(error) !== 'EEXIST') throw error
      })
      const [own, other] = [await handle.stat(), await stat(to)]
      // The directory is the guest's user's, who may have exchanged what lies under the name.
      if (own.ino !== other.ino || own.dev !== other.dev)
        throw new RametError('IN_USE', { message: `${to} is another file than ${from}` })
      await finishFile(handle, { mode: baseMode, owner: process.getuid?.() === 0 ? { uid: 0, gid: 0 } : undefined })
    }),
  )
  await syncDirectory(dirname(to))
  await syncDirectory(dirname(dirname(to)))
}

/** Takes the second name away, and gives the delta back to its vm to be written again. Idempotent. */
export async function returnDisk(from: string, to: string, owner?: FileOwner): Promise<void> {
  await naming(from, () => withPlainFile(from, 'read', (handle) => finishFile(handle, { owner })))
  await rm(dirname(to), { recursive: true, force: true })
}
