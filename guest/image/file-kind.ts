/** What a file offered for import is, by its own first bytes: its name and the guesses of tools are not trusted. */
import { open } from 'node:fs/promises'
import { RametError } from '../../src/shared/errors.ts'
import { isExtSuperblock, superblockAt, superblockBytes } from './ext-superblock.ts'

export type FileKind =
  /** `decompress`: option for tar, absent for a plain file */
  | { kind: 'tar'; decompress?: '--gzip' | '--xz' | '--zstd' | '--bzip2' }
  | { kind: 'qcow2' }
  /** a file system or a partitioned disk, byte for byte */
  | { kind: 'raw' }

const compressions = [
  { magic: Buffer.from([0x1f, 0x8b]), option: '--gzip' },
  { magic: Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]), option: '--xz' },
  { magic: Buffer.from([0x28, 0xb5, 0x2f, 0xfd]), option: '--zstd' },
  { magic: Buffer.from('BZh', 'latin1'), option: '--bzip2' },
] as const
const qcow2Magic = Buffer.from('QFI\xfb', 'latin1')
const endOfArchiveBytes = 1024
const tarBlockBytes = 512

/**
 * @throws RametError `IMAGE_INVALID` when it is nothing that can be imported, or evidently cut off;
 *   `NOT_FOUND` when there is no such file
 */
export async function detectFileKind(path: string): Promise<FileKind> {
  const handle = await open(path, 'r').catch((error: unknown) => {
    throw new RametError('NOT_FOUND', {
      message: `cannot read ${path}`,
      cause: error,
      remediation: 'Name a file that exists and that the daemon may read.',
    })
  })
  try {
    const stat = await handle.stat()
    if (!stat.isFile()) throw invalid(`${path} is not a regular file`)
    if (stat.size === 0) throw invalid(`${path} is empty`)
    const head = Buffer.alloc(superblockAt + superblockBytes)
    await handle.read(head, 0, head.length, 0)
    const compression = compressions.find(({ magic }) => head.subarray(0, magic.length).equals(magic))
    if (compression !== undefined) return { kind: 'tar', decompress: compression.option }
    if (head.subarray(0, 4).equals(qcow2Magic)) return { kind: 'qcow2' }
    if (head.toString('latin1', 257, 262) === 'ustar') {
      const tail = Buffer.alloc(endOfArchiveBytes)
      await handle.read(tail, 0, tail.length, Math.max(0, stat.size - tail.length))
      // tar itself takes an archive that ends between two members for a whole one.
      if (stat.size % tarBlockBytes !== 0 || tail.some((byte) => byte !== 0)) {
        throw invalid(`${path} is a tar file that is cut off: it has no end-of-archive mark`)
      }
      return { kind: 'tar' }
    }
    if (isExtSuperblock(head.subarray(superblockAt)) || head.readUInt16LE(510) === 0xaa55) return { kind: 'raw' }
    throw invalid(`${path} is neither a tar file (plain, gzip, xz, zstd, bzip2) nor an ext4, raw or qcow2 disk`)
  } finally {
    await handle.close()
  }
}

function invalid(message: string): RametError {
  return new RametError('IMAGE_INVALID', { message })
}
