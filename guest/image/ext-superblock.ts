/** The superblock of ext2, ext3 and ext4: enough of it to tell a whole file system from a cut one. */
export const superblockAt = 1024
export const superblockBytes = 1024

const magic = 0xef53
const incompatible64Bit = 0x80

export interface ExtSuperblock {
  blockBytes: number
  /** length of the file system */
  totalBytes: number
  uuid: string
}

export function isExtSuperblock(superblock: Buffer): boolean {
  return superblock.length >= 0x154 && superblock.readUInt16LE(0x38) === magic
}

/** Undefined when it is no such superblock, or one with impossible numbers. */
export function parseExtSuperblock(superblock: Buffer): ExtSuperblock | undefined {
  if (!isExtSuperblock(superblock)) return undefined
  const blockShift = superblock.readUInt32LE(0x18)
  if (blockShift > 6) return undefined
  const blockBytes = 1024 << blockShift
  const is64Bit = (superblock.readUInt32LE(0x60) & incompatible64Bit) !== 0
  const blocks = superblock.readUInt32LE(0x04) + (is64Bit ? superblock.readUInt32LE(0x150) * 2 ** 32 : 0)
  if (blocks === 0) return undefined
  return { blockBytes, totalBytes: blocks * blockBytes, uuid: superblock.toString('hex', 0x68, 0x78) }
}
