/** Finds the root file system of a raw disk: the whole disk, or one of its partitions. */
import { open } from 'node:fs/promises'
import { RametError } from '../../src/shared/errors.ts'
import { formatBytes } from '../../src/shared/limits.ts'
import { parseExtSuperblock, superblockAt, superblockBytes } from './ext-superblock.ts'
import { type Partition, readPartitions } from './partitions.ts'

export interface RootDevice {
  /** as the guest names it: `/dev/vda`, `/dev/vda1` */
  name: string
  /** where it begins in the disk */
  startBytes: number
}

interface Candidate extends RootDevice {
  /** room for the file system */
  sizeBytes: number
  /** length of its ext file system; undefined when it holds none */
  fileSystemBytes: number | undefined
}

/**
 * @param wanted what the user says; default: the one device that holds an ext file system
 * @throws RametError `IMAGE_INVALID` when there is none, when it is cut off, or when there are several to choose from;
 *   `INVALID_ARGUMENT` when the one wanted is none
 */
export async function findRootDevice(rawPath: string, wanted?: string): Promise<RootDevice> {
  const candidates = await readCandidates(rawPath)
  const usable = candidates.filter(({ fileSystemBytes }) => fileSystemBytes !== undefined)
  const described = candidates.map(describe).join(', ')
  if (wanted !== undefined) {
    const name = wanted.startsWith('/dev/') ? wanted : `/dev/${wanted}`
    const chosen = usable.find((candidate) => candidate.name === name)
    if (chosen !== undefined) return whole(chosen)
    const message = `${wanted.slice(0, 80)} holds no ext4 file system; the disk has ${described}`
    throw new RametError('INVALID_ARGUMENT', { message })
  }
  const [first, ...others] = usable
  if (first === undefined) {
    throw new RametError('IMAGE_INVALID', {
      message: `the disk holds no ext4 file system; it has ${described}`,
      remediation: 'Import a disk with an ext4 root, or a tar file of its root.',
    })
  }
  if (others.length === 0) return whole(first)
  throw new RametError('IMAGE_INVALID', {
    message: `the disk holds several file systems: ${described}`,
    remediation: `Say which is the root: --root-device ${usable.map(({ name }) => name).join(' or ')}`,
    details: { candidates: usable.map(({ name }) => name) },
  })
}

async function readCandidates(rawPath: string): Promise<Candidate[]> {
  const disk = await open(rawPath, 'r')
  try {
    const { size } = await disk.stat()
    const probe = async (name: string, partition: Omit<Partition, 'number'>): Promise<Candidate> => {
      const superblock = Buffer.alloc(superblockBytes)
      await disk.read(superblock, 0, superblockBytes, partition.startBytes + superblockAt)
      return { name, ...partition, fileSystemBytes: parseExtSuperblock(superblock)?.totalBytes }
    }
    const whole = await probe('/dev/vda', { startBytes: 0, sizeBytes: size })
    if (whole.fileSystemBytes !== undefined) return [whole]
    const partitions = await readPartitions(disk)
    if (partitions.length === 0) return [whole]
    const found: Candidate[] = []
    for (const { number, startBytes, sizeBytes } of partitions) {
      const there = Math.max(0, Math.min(sizeBytes, size - startBytes))
      found.push(await probe(`/dev/vda${number}`, { startBytes, sizeBytes: there }))
    }
    return found
  } finally {
    await disk.close()
  }
}

function whole(root: Candidate): RootDevice {
  if (root.fileSystemBytes !== undefined && root.fileSystemBytes > root.sizeBytes) {
    const missing = `${formatBytes(root.sizeBytes)} of ${formatBytes(root.fileSystemBytes)}`
    throw new RametError('IMAGE_INVALID', {
      message: `the file system on ${root.name} is cut off: ${missing} are there`,
    })
  }
  return { name: root.name, startBytes: root.startBytes }
}

function describe({ name, sizeBytes, fileSystemBytes }: Candidate): string {
  return `${name} (${formatBytes(sizeBytes)}, ${fileSystemBytes === undefined ? 'no ext4' : 'ext4'})`
}
