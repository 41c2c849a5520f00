/** Blocks that say themselves whether they are whole. */
import { crc32 } from 'node:zlib'

/** of key, version, length, checksum */
const headerBytes = 16
const checksumAt = 12

/** What no copy that was pieced together, and no page of zeros, passes for. */
export class Payload {
  readonly #noise: Buffer
  readonly #block: Buffer

  /** @param seed of the noise that blocks are made of */
  constructor(seed: number, blockBytes: number) {
    this.#noise = Buffer.alloc(blockBytes * 2)
    let state = seed | 1
    for (let at = 0; at < this.#noise.length; at += 4) {
      state = (Math.imul(state, 0x2c1b3c6d) + 0x297a2d39) | 0
      this.#noise.writeInt32LE(state ^ (state >>> 15), at)
    }
    this.#block = Buffer.alloc(blockBytes)
  }

  /** A block of its own for each version of each key. Overwritten by the next call. */
  make(key: number, version: number, length: number): Buffer {
    const block = this.#block.subarray(0, length)
    const shift = ((Math.imul(version, 0x9e3779b1) >>> 0) % (this.#block.length / 4)) * 4
    this.#noise.copy(block, 0, shift, shift + length)
    block.writeUInt32LE(key, 0)
    block.writeUInt32LE(version >>> 0, 4)
    block.writeUInt32LE(length, 8)
    block.writeUInt32LE(0, checksumAt)
    block.writeUInt32LE(crc32(block), checksumAt)
    return block
  }
}

/** Whether the bytes are a whole block of that key. Clears the checksum in them. */
export function isWhole(block: Buffer, key: number): boolean {
  if (block.length < headerBytes || block.readUInt32LE(0) !== key || block.readUInt32LE(8) !== block.length)
    return false
  const checksum = block.readUInt32LE(checksumAt)
  block.writeUInt32LE(0, checksumAt)
  return crc32(block) === checksum
}
