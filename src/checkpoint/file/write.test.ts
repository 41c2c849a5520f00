import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { pageBytes } from '../../memory/base.ts'
import { isRametError } from '../../shared/errors.ts'
import { rametVersion } from '../../shared/version.ts'
import { FileSource } from './range-source.ts'
import { Checkpoint } from './read.ts'
import { sampleGuest, withDirectory } from './testing/sample.ts'
import { type CheckpointParts, physicalOrder, writeCheckpoint } from './write.ts'

const run = promisify(execFile)

for (const { base, blockPages, pageCount, workerCount } of [
  { base: true, blockPages: 8, pageCount: 500, workerCount: 2 },
  { base: false, blockPages: 32, pageCount: 333, workerCount: 1 },
  { base: true, blockPages: 1, pageCount: 9, workerCount: 1 },
]) {
  test(`what is written is read: ${pageCount} pages in blocks of ${blockPages}${base ? ', over a base' : ''}`, () =>
    withDirectory(async (directory) => {
      const path = join(directory, 'vm.checkpoint')
      const { memory, kinds, parts } = sampleGuest({ pageCount, base })
      const written = await writeCheckpoint(path, parts, { workerCount, blockPages })
      assert.deepEqual(await readdir(directory), ['vm.checkpoint'])
      assert.equal((await stat(path)).mode & 0o777, 0o400)
      assert.equal((await stat(path)).size, written.fileBytes)

      await using source = await FileSource.open(path)
      const checkpoint = await Checkpoint.open(source, { digest: written.digest })
      assert.deepEqual(checkpoint.manifest.counts, written.counts)
      assert.deepEqual(await checkpoint.readDeviceState(), parts.deviceState)
      assert.deepEqual(await checkpoint.readRoms(), parts.roms)
      const restored = Buffer.alloc(memory.length)
      const seen: number[] = []
      for (let block = 0; block < checkpoint.pages.blockCount; block += 1) {
        const bytes = await checkpoint.readBlock(block)
        for (const [slot, page] of checkpoint.pages.pagesOf(block).entries()) {
          assert.deepEqual(checkpoint.pages.placeOf(page), { block, slot })
          bytes.copy(restored, page * pageBytes, slot * pageBytes, (slot + 1) * pageBytes)
          seen.push(page)
        }
      }
      const expected = [...parts.order.pages].filter((page) => kinds[page] === 'data')
      assert.deepEqual(seen, expected, 'in the order asked for')
      for (const [page, kind] of kinds.entries()) {
        assert.equal(checkpoint.pages.kindOf(page), kind === 'data' ? 'stored' : kind)
        if (kind !== 'data') memory.fill(0, page * pageBytes, (page + 1) * pageBytes)
      }
      assert.ok(restored.equals(memory))
    }))
}

test('the manifest tells what a restore must know', () =>
  withDirectory(async (directory) => {
    const { parts } = sampleGuest()
    const path = join(directory, 'a')
    await writeCheckpoint(path, parts, { workerCount: 1 })
    await using source = await FileSource.open(path)
    const { manifest } = await Checkpoint.open(source)
    assert.deepEqual(manifest.machine, parts.machine)
    assert.deepEqual(manifest.cpuFeatures, ['fpu', 'lm', 'sse2'])
    assert.equal(manifest.rametVersion, rametVersion)
    assert.equal(manifest.createdAt, '2023-11-14T22:13:20.000Z')
    assert.deepEqual(manifest.base, parts.base)
    assert.deepEqual(manifest.order, { kind: 'virtual', reason: parts.order.reason })
    assert.deepEqual(
      manifest.ramBlocks.map(({ name, content }) => [name, content]),
      [
        ['mem', 'pages'],
        ['pc.bios', 'rom'],
        ['/rom@etc/acpi/tables', 'none'],
      ],
    )
  }))

test('pages of zeros cost nothing, noticed by the source or not', () =>
  withDirectory(async (directory) => {
    const { parts } = sampleGuest({ pageCount: 20_000 })
    const path = join(directory, 'a')
    const unnoticed: CheckpointParts = {
      ...parts,
      pages: {
        read: (_page, into) => {
          into.fill(0)
          return 'data'
        },
      },
    }
    const { counts, fileBytes } = await writeCheckpoint(path, unnoticed, { workerCount: 1 })
    assert.equal(counts.zero, 20_000)
    assert.equal(counts.storedBytes, 0)
    assert.ok(fileBytes < 6000, `${fileBytes} bytes`)
    await using source = await FileSource.open(path)
    const checkpoint = await Checkpoint.open(source)
    assert.equal(checkpoint.pages.kindOf(19_999), 'zero')
    assert.equal(checkpoint.pages.blockCount, 0)
  }))

test('a source may take its time, and progress is told', () =>
  withDirectory(async (directory) => {
    const { parts, kinds } = sampleGuest({ pageCount: 3000 })
    const told: [number, number][] = []
    const slow: CheckpointParts = {
      ...parts,
      pages: { read: async (page, into) => parts.pages.read(page, into) },
    }
    const { counts } = await writeCheckpoint(join(directory, 'a'), slow, {
      workerCount: 1,
      onProgress: (done, total) => told.push([done, total]),
    })
    assert.equal(counts.stored, kinds.filter((kind) => kind === 'data').length)
    assert.deepEqual(told.at(-1), [3000 * pageBytes, 3000 * pageBytes])
    assert.ok(told.length >= 3 && told.every(([done], index) => done >= (told[index - 1]?.[0] ?? 0)))
  }))

test('an aborted write leaves nothing', () =>
  withDirectory(async (directory) => {
    const { parts } = sampleGuest({ pageCount: 3000 })
    const controller = new AbortController()
    const reason = new Error('enough')
    const writing = writeCheckpoint(join(directory, 'a'), parts, {
      workerCount: 1,
      signal: controller.signal,
      onProgress: (done) => {
        if (done > 0) controller.abort(reason)
      },
    })
    await assert.rejects(writing, reason)
    await assert.rejects(writeCheckpoint(join(directory, 'a'), parts, { signal: controller.signal }), reason)
    assert.deepEqual(await readdir(directory), [])
  }))

test('a source that fails leaves nothing', () =>
  withDirectory(async (directory) => {
    const { parts } = sampleGuest({ pageCount: 3000 })
    const failing: CheckpointParts = {
      ...parts,
      pages: {
        read: (page, into) => {
          if (page === 1234) throw new RangeError('gone')
          return parts.pages.read(page, into)
        },
      },
    }
    await assert.rejects(writeCheckpoint(join(directory, 'a'), failing, { workerCount: 2 }), RangeError)
    assert.deepEqual(await readdir(directory), [])
  }))

test('an order that has a page twice is refused before anything is written', () =>
  withDirectory(async (directory) => {
    const { parts } = sampleGuest()
    for (const pages of [physicalOrder(99), physicalOrder(100).fill(7, 8, 9), physicalOrder(100).fill(100, 99)]) {
      const wrong = { ...parts, order: { ...parts.order, pages } }
      await assert.rejects(writeCheckpoint(join(directory, 'a'), wrong), { code: 'INTERNAL' })
    }
    assert.deepEqual(await readdir(directory), [])
  }))

/** Writes in a process of its own, where a fault can be armed. */
async function writeElsewhere(directory: string, fault: string): Promise<string> {
  const script = `
    import { sampleGuest } from '${new URL('./testing/sample.ts', import.meta.url)}'
    import { writeCheckpoint } from '${new URL('./write.ts', import.meta.url)}'
    const { parts } = sampleGuest({ pageCount: 1000 })
    const written = await writeCheckpoint(process.argv[1], parts, { workerCount: 1 }).catch((error) => error)
    console.log(JSON.stringify({ code: written.code, path: written.details?.path, counts: written.counts?.pages }))`
  const options = { env: { ...process.env, RAMET_FAULT: fault } }
  const args = ['--input-type=module', '-e', script, join(directory, 'a')]
  return (await run(process.execPath, args, options)).stdout
}

test('a disk that is full in the middle is told as one, and nothing is left', () =>
  withDirectory(async (directory) => {
    for (const fault of ['checkpoint.block=ENOSPC@3', 'checkpoint.sections=ENOSPC']) {
      const told = JSON.parse(await writeElsewhere(directory, fault))
      assert.deepEqual(told, { code: 'NO_SPACE', path: join(directory, 'a') })
      assert.deepEqual(await readdir(directory), [])
    }
  }))

test('a writer that dies leaves no checkpoint, and the next one is not disturbed by what it left', () =>
  withDirectory(async (directory) => {
    await assert.rejects(writeElsewhere(directory, 'checkpoint.sections=kill'), { signal: 'SIGKILL' })
    assert.deepEqual(await readdir(directory), ['a.tmp'])
    assert.equal(JSON.parse(await writeElsewhere(directory, '')).counts, 1000)
    assert.deepEqual(await readdir(directory), ['a'])
  }))

test('only a plain file is opened', () =>
  withDirectory(async (directory) => {
    await assert.rejects(FileSource.open(join(directory, 'none')), { code: 'NOT_FOUND' })
    await assert.rejects(FileSource.open(directory), { code: 'CHECKPOINT_DAMAGED' })
    await writeFile(join(directory, 'text'), 'x'.repeat(5000))
    await using source = await FileSource.open(join(directory, 'text'))
    await assert.rejects(
      Checkpoint.open(source),
      (error) => isRametError(error, 'CHECKPOINT_DAMAGED') && error.message.includes(join(directory, 'text')),
    )
    assert.equal((await readFile(join(directory, 'text'))).length, 5000)
  }))
