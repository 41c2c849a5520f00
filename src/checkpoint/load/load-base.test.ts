import assert from 'node:assert/strict'
import { closeSync, mkdtempSync, readFileSync, readSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { BaseWriter, pageBytes, residentBytes } from '../../memory/base.ts'
import { contentDigest } from '../../memory/base-manifest.ts'
import { storeBase } from '../../memory/store.ts'
import { readStoredManifest } from '../../memory/stored-base.ts'
import { isRametError } from '../../shared/errors.ts'
import { sampleGuest } from '../file/testing/sample.ts'
import { writeCheckpoint } from '../file/write.ts'
import { type LoadOptions, loadCheckpoint } from './load-base.ts'

const dir = mkdtempSync(join(tmpdir(), 'ramet-load-'))
after(() => rmSync(dir, { recursive: true }))

/** A checkpoint whose pages lie in no order, some of them in a stored base. */
async function sample(seed: number): Promise<{ options: LoadOptions; memory: Buffer; zeroPages: number }> {
  const guest = sampleGuest({ seed, pageCount: 700 })
  const writer = await BaseWriter.create({ id: 'base-1', sizeBytes: guest.memory.length })
  writer.write(guest.memory, 0)
  const base = writer.seal()
  const basePath = join(dir, `${seed}.base`)
  await storeBase(base, basePath)
  closeSync(base.fd)
  const digest = contentDigest(await readStoredManifest(basePath))
  const path = join(dir, `${seed}.ckpt`)
  const saved = await writeCheckpoint(path, { ...guest.parts, base: { id: 'base-1', digest } })
  const options = { path, digest: saved.digest, id: 'base-2', base: { path: basePath, id: 'base-1' } }
  return { options, memory: guest.memory, zeroPages: guest.kinds.filter((kind) => kind === 'zero').length }
}

test('a checkpoint becomes a sealed base with the very same memory, and zeros take nothing', async () => {
  for (const seed of [1, 2, 3]) {
    const { options, memory, zeroPages } = await sample(seed)
    const told: number[] = []
    const { base, stream } = await loadCheckpoint({ ...options, onProgress: (doneBytes) => void told.push(doneBytes) })
    const content = Buffer.alloc(memory.length)
    readSync(base.fd, content, 0, content.length, 0)
    assert.ok(content.equals(memory), `seed ${seed}`)
    assert.equal(residentBytes(base), memory.length - zeroPages * pageBytes)
    assert.throws(() => writeFileSync(base.fd, 'x'), { code: 'EPERM' })
    assert.equal(told.at(-1), memory.length - zeroPages * pageBytes)
    assert.deepEqual(
      [...stream.pages].map(({ block }) => block),
      ['pc.bios'],
    )
    closeSync(base.fd)
  }
})

test('a block that is altered, and a base that is missing, are refused; what is cancelled stops', async () => {
  const { options } = await sample(4)
  const { base: _, ...alone } = options
  await assert.rejects(loadCheckpoint({ ...options, base: { path: join(dir, 'none'), id: 'base-1' } }), (error) =>
    isRametError(error, 'NOT_FOUND'),
  )
  await assert.rejects(loadCheckpoint(alone))
  const stop = new AbortController()
  const cancelled = loadCheckpoint({
    ...options,
    signal: stop.signal,
    onProgress: () => stop.abort(new TypeError('no')),
  })
  await assert.rejects(cancelled, /no/)
  const bytes = readFileSync(options.path)
  bytes.writeUInt8(bytes.readUInt8(5000) ^ 1, 5000)
  writeFileSync(options.path, bytes)
  await assert.rejects(loadCheckpoint(options), (error) => isRametError(error, 'CHECKPOINT_DAMAGED'))
})
