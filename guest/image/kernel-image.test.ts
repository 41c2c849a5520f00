import assert from 'node:assert/strict'
import { test } from 'node:test'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { extractKernel, hasPvhEntry } from './kernel-image.ts'

/** An ELF file that has nothing but one note. */
function elfWithNote(owner: string, type: number): Buffer {
  const elf = Buffer.alloc(160)
  elf.write('\x7fELF\x02', 0, 'latin1')
  elf.writeBigUInt64LE(64n, 32)
  elf.writeUInt16LE(56, 54)
  elf.writeUInt16LE(1, 56)
  elf.writeUInt32LE(4, 64)
  elf.writeBigUInt64LE(120n, 64 + 8)
  elf.writeBigUInt64LE(20n, 64 + 32)
  elf.writeUInt32LE(4, 120)
  elf.writeUInt32LE(4, 124)
  elf.writeUInt32LE(type, 128)
  elf.write(owner, 132, 'latin1')
  return elf
}

/** A self-extracting image around packed data: one sector of set-up code, then a stub, then the data. */
function bootImage(packed: Buffer): Buffer {
  const image = Buffer.alloc(1024 + 100 + packed.length)
  image.writeUInt8(1, 0x1f1)
  image.write('HdrS', 0x202, 'latin1')
  image.writeUInt32LE(100, 0x248)
  image.writeUInt32LE(packed.length, 0x24c)
  packed.copy(image, 1124)
  return image
}

const kernel = elfWithNote('Xen', 18)
const length = Buffer.alloc(4)
length.writeUInt32LE(kernel.length)

test('the kernel is taken out of its image, however it is packed', () => {
  assert.deepEqual(extractKernel(bootImage(gzipSync(kernel))), kernel)
  assert.deepEqual(extractKernel(bootImage(Buffer.concat([zstdCompressSync(kernel), length]))), kernel)
})

test('an image that cannot be unpacked, or whose kernel QEMU could not enter, stays as it is', () => {
  assert.equal(extractKernel(bootImage(gzipSync(elfWithNote('Xen', 17)))), undefined)
  assert.equal(extractKernel(bootImage(Buffer.alloc(64, 7))), undefined)
  const packed = bootImage(gzipSync(kernel))
  assert.equal(extractKernel(packed.subarray(0, packed.length - 1)), undefined)
  packed.fill(0xff, 1140)
  assert.equal(extractKernel(packed), undefined)
})

test('only the note that names the entry counts', () => {
  assert.equal(hasPvhEntry(kernel), true)
  assert.equal(hasPvhEntry(elfWithNote('GNU', 18)), false)
  assert.equal(hasPvhEntry(kernel.subarray(0, 100)), false)
})
