import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { isRametError } from '../../shared/errors.ts'
import { type DecodedStream, StreamDecoder } from './decode.ts'
import { extractDeviceBlob } from './device-blob.ts'
import { encodeHead, encodePages, encodeStream, type PageRun, type StreamParts } from './encode.ts'

const KiB = 1024
const blocks = [
  { name: 'mem', usedBytes: 0x10000000 },
  { name: '/rom@etc/acpi/tables', usedBytes: 128 * KiB },
  { name: 'pc.bios', usedBytes: 256 * KiB },
]
/** Two sections as devices write them: FULL, id, name, instance, version, payload, footer. */
const deviceBlob = Buffer.from(`0400000000${'0574696d6572'}0000000000000002${'00'.repeat(24)}7e00000029`, 'hex')

interface Decoded extends DecodedStream {
  pages: Map<string, Buffer>
}

function decode(bytes: Buffer, cuts: readonly number[] = []): Decoded {
  const pages = new Map<string, Buffer>()
  const decoder = new StreamDecoder({
    page: (block, offset, data) => pages.set(`${block}+${offset}`, data ? Buffer.from(data) : Buffer.alloc(4096)),
  })
  const ends = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b)
  let from = 0
  for (const end of [...ends, bytes.length]) {
    decoder.push(bytes.subarray(from, end))
    from = end
  }
  return { ...decoder.finish(), pages }
}

const encode = (parts: Partial<StreamParts> = {}) =>
  Buffer.concat([...encodeStream({ machine: 'pc-q35-7.2', blocks, pages: [], deviceBlob, ...parts })])

test('the head is byte for byte what QEMU writes', () => {
  const mem = { name: 'mem', usedBytes: 0x10000000 }
  const acpi = { name: '/rom@etc/acpi/tables', usedBytes: 0x20000 }
  const bios = { name: 'pc.bios', usedBytes: 0x40000 }
  assert.equal(
    encodeHead('pc-q35-7.2', [mem, acpi, bios]).toString('hex'),
    [
      ...['5145564d', '00000003', '07', '0000000a', Buffer.from('pc-q35-7.2').toString('hex')],
      ...['01', '00000002', '03', Buffer.from('ram').toString('hex'), '00000000', '00000004', '0000000010060004'],
      ...['03', Buffer.from('mem').toString('hex'), '0000000010000000'],
      ...['14', Buffer.from('/rom@etc/acpi/tables').toString('hex'), '0000000000020000'],
      ...['07', Buffer.from('pc.bios').toString('hex'), '0000000000040000'],
      ...['0000000000000010', '7e', '00000002'],
    ].join(''),
  )
})

test('pages are records of QEMU: named at a new block, continued in the same', () => {
  const data = Buffer.alloc(2 * 4096, 7)
  const runs = [
    { block: 'mem', offsetBytes: 0xc0000, data },
    { block: 'mem', offsetBytes: 0x2000, data: Buffer.alloc(4096) },
  ]
  const bytes = Buffer.concat([...encodePages(runs, blocks)])
  const page = data.subarray(0, 4096).toString('hex')
  assert.equal(
    bytes.toString('hex'),
    `0300000002${'00000000000c0008'}036d656d${page}${'00000000000c1028'}${page}${'0000000000002022'}00${'0000000000000010'}7e00000002`,
  )
})

test('what is encoded comes back, however it is cut', () => {
  const run = fc.record({
    block: fc.constantFrom('mem', 'pc.bios'),
    page: fc.nat(60),
    fill: fc.array(fc.nat(255), { minLength: 1, maxLength: 3 }),
  })
  const property = fc.property(fc.array(run, { maxLength: 12 }), fc.array(fc.nat(), { maxLength: 8 }), (runs, cuts) => {
    const wanted = new Map<string, Buffer>()
    const pages: PageRun[] = runs.map(({ block, page, fill }) => {
      const data = Buffer.concat(fill.map((byte) => Buffer.alloc(4096, byte)))
      for (const [index, byte] of fill.entries())
        wanted.set(`${block}+${(page + index) * 4096}`, Buffer.alloc(4096, byte))
      return { block, offsetBytes: page * 4096, data }
    })
    const decoded = decode(encode({ pages }), cuts)
    assert.deepEqual(decoded.blocks, blocks)
    assert.equal(decoded.machine, 'pc-q35-7.2')
    assert.ok(decoded.deviceBlob.equals(deviceBlob))
    assert.equal(decoded.pages.size, wanted.size)
    for (const [key, data] of wanted) assert.ok(decoded.pages.get(key)?.equals(data), key)
  })
  fc.assert(property, { numRuns: 60 })
})

test('no damage gets past the decoder but as an error of ours', () => {
  const whole = encode({ pages: [{ block: 'mem', offsetBytes: 4096, data: Buffer.alloc(8192, 3) }] })
  const damage = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 })
  const property = fc.property(damage, fc.nat(whole.length), (changes, length) => {
    const bytes = Buffer.from(whole.subarray(0, length))
    for (const [at, byte] of changes) if (at < bytes.length) bytes[at] = byte
    try {
      decode(bytes)
    } catch (error) {
      assert.ok(isRametError(error, 'VMM_FAILED'), String(error))
    }
  })
  fc.assert(property, { numRuns: 400 })
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => assert.throws(() => decode(Buffer.from(bytes)))))
})

test('lies about lengths are refused', () => {
  const head = encodeHead('pc-q35-7.2', blocks)
  const forged = (from: string, to: string) => Buffer.from(encode().toString('hex').replace(from, to), 'hex')
  assert.throws(() => decode(head), /within RAM/)
  assert.throws(() => decode(forged('0000000010060004', '0000000010061004')), { code: 'VMM_FAILED' })
  assert.throws(() => decode(forged('0000000010060004', 'ffffffffff060004')), /2\^53/)
  assert.throws(() => decode(forged('0000000a', 'ffffffff')), /name of the machine/)
  const beyond = { block: 'pc.bios', offsetBytes: 252 * KiB, data: Buffer.alloc(4096, 1) }
  const shifted = Buffer.from(
    encode({ pages: [beyond] })
      .toString('hex')
      .replace('000000000003f008', '0000000000040008'),
    'hex',
  )
  assert.throws(() => decode(shifted), /beyond the end of pc.bios/)
})

test('the encoder refuses pages that the block list does not cover', () => {
  const bad: PageRun[] = [
    { block: 'vga.vram', offsetBytes: 0, data: Buffer.alloc(4096) },
    { block: 'pc.bios', offsetBytes: 256 * KiB, data: Buffer.alloc(4096) },
    { block: 'pc.bios', offsetBytes: 100, data: Buffer.alloc(4096) },
    { block: 'pc.bios', offsetBytes: 0, data: Buffer.alloc(100) },
  ]
  for (const run of bad) assert.throws(() => encode({ pages: [run] }), { code: 'INTERNAL' })
})

test('a saved device state is taken only whole', () => {
  const file = Buffer.concat([Buffer.from('5145564d00000003', 'hex'), deviceBlob, Buffer.from([0])])
  assert.ok(extractDeviceBlob(file).equals(deviceBlob))
  for (const length of [0, 7, 8, 9, 20, file.length - 1])
    assert.throws(() => extractDeviceBlob(file.subarray(0, length)), { code: 'VMM_FAILED' })
  assert.throws(() => extractDeviceBlob(Buffer.concat([file, Buffer.from([1])])), { code: 'VMM_FAILED' })
})
