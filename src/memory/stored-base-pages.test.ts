import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { chmodSync, closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { countDescriptors } from '../host/descriptors.ts'
import { BaseWriter } from './base.ts'
import { contentDigest, parseManifest } from './base-manifest.ts'
import { storeBase } from './store.ts'
import { manifestPath, readStoredManifest } from './stored-base.ts'
import { type KeptPieces, StoredBasePages } from './stored-base-pages.ts'

const MiB = 1024 * 1024
const sizeBytes = 6 * MiB + 8192
const pageCount = sizeBytes / 4096
/** blocks 1, 2, 4 and the short last one */
const memory = Buffer.alloc(sizeBytes)
let directory = ''
let path = ''

before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'ramet-base-pages-'))
  path = join(directory, 'base')
  randomBytes(MiB).copy(memory, 1.5 * MiB)
  randomBytes(4096).copy(memory, 4 * MiB + 40_960)
  randomBytes(4096).copy(memory, 6 * MiB + 4096)
  using writer = await BaseWriter.create({ id: 'base-test-pages', sizeBytes })
  writer.write(memory, 0)
  const base = writer.seal()
  await storeBase(base, path)
  closeSync(base.fd)
})
after(() => rmSync(directory, { recursive: true }))

async function assertPage(pages: StoredBasePages, page: number): Promise<number> {
  const into = Buffer.alloc(4096, 0xee)
  const readBytes = await pages.read(page, into)
  assert.ok(into.equals(memory.subarray(page * 4096, (page + 1) * 4096)), `page ${page}`)
  return readBytes
}

test('every page is what it was, in any order, with next to no cache', async () => {
  const before = countDescriptors('self')
  for (const cacheCount of [1, 2, 100]) {
    await using pages = await StoredBasePages.open(path, { id: 'base-test-pages', cacheCount })
    assert.equal(pages.pageCount, pageCount)
    for (let count = 0; count < 200; count += 1) await assertPage(pages, (count * 997) % pageCount)
    await Promise.all(Array.from({ length: pageCount }, (_, page) => assertPage(pages, page)))
    await assert.rejects(pages.read(pageCount, Buffer.alloc(4096)), { code: 'INTERNAL' })
  }
  assert.equal(countDescriptors('self'), before)
})

/** Keeps copies, and loses each third of them. */
class ForgetfulPieces implements KeptPieces {
  readonly pieceBytes: number
  readonly taken: string[] = []
  readonly #pieces = new Map<string, Buffer>()

  constructor(pieceBytes: number) {
    this.pieceBytes = pieceBytes
  }

  take(key: string, lengthBytes: number): Buffer | undefined {
    const bytes = this.#pieces.get(key)
    if (bytes === undefined) return undefined
    this.taken.push(key)
    if (this.taken.length % 3 === 0) this.#pieces.delete(key)
    assert.equal(bytes.length, lengthBytes)
    return Buffer.from(bytes)
  }

  put(key: string, bytes: Buffer): void {
    assert.ok(bytes.length <= this.pieceBytes)
    this.#pieces.set(key, Buffer.from(bytes))
  }
}

test('what is kept beside is used for the next one who opens the base, and may be lost', async () => {
  for (const pieceBytes of [4096, 128 * 1024, MiB]) {
    const kept = new ForgetfulPieces(pieceBytes)
    let readBytes = 0
    for (let round = 0; round < 3; round += 1) {
      await using pages = await StoredBasePages.open(path, { cacheCount: 1, kept })
      for (let count = 0; count < 300; count += 1) readBytes += await assertPage(pages, (count * 997) % pageCount)
    }
    assert.ok(kept.taken.length > 100, `${kept.taken.length} pieces of ${pieceBytes} bytes`)
    assert.ok(readBytes > 4 * MiB, 'what is lost is read again')
    const other = await StoredBasePages.open(path, { cacheCount: 1, kept })
    await Promise.all(Array.from({ length: pageCount }, (_, page) => assertPage(other, page)))
    await other[Symbol.asyncDispose]()
  }
})

test('a base is known by its content', async () => {
  const manifest = parseManifest(readFileSync(manifestPath(path), 'utf8'), 'manifest')
  const digest = contentDigest(manifest)
  assert.match(digest, /^[0-9a-f]{64}$/)
  assert.equal(contentDigest({ ...manifest, id: 'base-other-name' }), digest)
  assert.notEqual(contentDigest({ ...manifest, blocks: manifest.blocks.slice(1) }), digest)
  assert.notEqual(contentDigest({ ...manifest, sizeBytes: sizeBytes + 4096 }), digest)
  assert.deepEqual(await readStoredManifest(path, { digest }), manifest)
  await using pages = await StoredBasePages.open(path, { digest })
  assert.deepEqual([pages.id, pages.digest], ['base-test-pages', digest])
  await assert.rejects(StoredBasePages.open(path, { digest: 'a'.repeat(64) }), { code: 'BASE_DAMAGED' })
  await assert.rejects(StoredBasePages.open(path, { id: 'base-other' }), { code: 'BASE_DAMAGED' })
  await assert.rejects(StoredBasePages.open(`${path}.not`), { code: 'NOT_FOUND' })
})

test('a block that was altered gives no page, and its neighbours do', async () => {
  const copy = join(directory, 'altered')
  writeFileSync(copy, readFileSync(path))
  writeFileSync(manifestPath(copy), readFileSync(manifestPath(path)))
  chmodSync(copy, 0o600)
  const at = 2 * MiB + 77
  const fd = openSync(copy, 'r+')
  writeSync(fd, Buffer.from([memory.readUInt8(at) ^ 1]), 0, 1, at)
  await using pages = await StoredBasePages.open(copy)
  const into = Buffer.alloc(4096, 0xee)
  const reads = [512, 513, 700].map((page) => pages.read(page, into))
  for (const read of reads)
    await assert.rejects(read, { code: 'BASE_DAMAGED', message: `block 2 of ${copy} does not match its checksum` })
  assert.ok(into.equals(Buffer.alloc(4096, 0xee)), 'no byte of it was given')
  await assertPage(pages, 511)
  // What is put right again is read again.
  writeSync(fd, memory, at, 1, at)
  closeSync(fd)
  await assertPage(pages, 512)
})
