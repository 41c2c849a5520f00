import { addressOf, preadv2Raw } from './libc.ts'

/** RWF_NOWAIT: nothing that would have to be waited for. */
const noWait = 8

/**
 * Fills a buffer from a file if the kernel has those bytes in memory.
 *
 * @returns false when it has not all of them, or cannot tell on this file system
 */
export function readIfCached(fd: number, buffer: Buffer, offsetBytes: number): boolean {
  const vector = Buffer.alloc(16)
  vector.writeBigUInt64LE(BigInt(addressOf(buffer)), 0)
  vector.writeBigUInt64LE(BigInt(buffer.length), 8)
  return Number(preadv2Raw(fd, vector, 1, offsetBytes, noWait)) === buffer.length
}
