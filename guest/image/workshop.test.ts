import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import process from 'node:process'
import { test } from 'node:test'
import { sweepLocks, takeLock } from './build-lock.ts'
import { loadImage, verifyImage } from './load.ts'
import { sweepStaging } from './staging.ts'
import { type TestPlace, testPlace } from './testing/fixtures.ts'
import { type Bench, makeImage, type RecipeResult } from './workshop.ts'

async function writeArtefacts(bench: Bench): Promise<RecipeResult> {
  await writeFile(join(bench.staging, 'kernel'), 'a kernel')
  await writeFile(join(bench.staging, 'initrd'), 'an initramfs')
  await writeFile(join(bench.work, 'scratch'), 'not part of it')
  return { recipe: 'micro', init: 'agent', cmdline: 'quiet', disk: null }
}

const make = (place: TestPlace, work = writeArtefacts, signal?: AbortSignal) =>
  makeImage(place.shop(signal), { recipe: 'micro' }, { trees: false }, work)

test('an image is whole, read-only and alone', async () => {
  await using place = await testPlace()
  const image = await make(place)
  assert.deepEqual(await readdir(place.imagesDir), [image.id])
  const dir = join(place.imagesDir, image.id)
  assert.deepEqual((await readdir(dir)).sort(), ['initrd', 'kernel', 'manifest.json'])
  assert.equal((await stat(join(dir, 'kernel'))).mode & 0o777, 0o444)
  assert.equal((await stat(dir)).mode & 0o777, 0o711)
  assert.deepEqual(await verifyImage(place.imagesDir, image.id), image)
})

test('a second build does nothing, two at once do it once', async () => {
  await using place = await testPlace()
  let builds = 0
  const counted = async (bench: Bench) => {
    builds += 1
    return writeArtefacts(bench)
  }
  const [first, second] = await Promise.all([make(place, counted), make(place, counted)])
  assert.deepEqual(first, second)
  assert.deepEqual(await make(place, counted), first)
  assert.equal(builds, 1)
})

test('a failed or cancelled build leaves nothing', async () => {
  await using place = await testPlace()
  const failing = async (bench: Bench): Promise<RecipeResult> => {
    await writeArtefacts(bench)
    throw new Error('no luck')
  }
  await assert.rejects(make(place, failing), /no luck/)
  const abort = new AbortController()
  const cancelled = async (bench: Bench): Promise<RecipeResult> => {
    const made = await writeArtefacts(bench)
    abort.abort()
    return made
  }
  await assert.rejects(make(place, cancelled, abort.signal), { code: 'CANCELLED' })
  assert.deepEqual(await readdir(place.imagesDir), [])
})

/** Another process that is in the middle of the same build. */
async function otherBuild(place: TestPlace): Promise<AsyncDisposable> {
  const url = (name: string) => JSON.stringify(new URL(name, import.meta.url).href)
  const code = `
    const { takeLock } = await import(${url('build-lock.ts')})
    const { createStaging } = await import(${url('staging.ts')})
    const { writeFileSync } = await import('node:fs')
    await takeLock(process.argv[1], process.argv[2])
    writeFileSync(await createStaging(process.argv[1]) + '/kernel', 'half a ke')
    process.stdout.write('ready')
    setInterval(() => {}, 1e6)`
  const { id } = await make(place)
  await rm(join(place.imagesDir, id), { recursive: true })
  const args = ['--input-type=module', '-e', code, '--', place.imagesDir, id]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(child.stdout, 'data')
  return {
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null || child.signalCode !== null) return
      child.kill('SIGKILL')
      await once(child, 'exit')
    },
  }
}

test('what a killed build has left is swept, what a living one works on is not', async () => {
  await using place = await testPlace()
  await using other = await otherBuild(place)
  assert.deepEqual(await sweepStaging(place.imagesDir), [])
  await other[Symbol.asyncDispose]()
  assert.equal((await sweepStaging(place.imagesDir)).length, 1)
  await sweepLocks(place.imagesDir)
  assert.deepEqual(await readdir(place.imagesDir), [])
  const image = await make(place)
  assert.deepEqual(await readdir(place.imagesDir), [image.id])
})

test('who waits for a build that is killed goes on itself, and can be cancelled before', async () => {
  await using place = await testPlace()
  await using other = await otherBuild(place)
  const abort = new AbortController()
  const waiting = place.reported('wait')
  const cancelled = assert.rejects(make(place, writeArtefacts, abort.signal), { code: 'CANCELLED' })
  await waiting
  abort.abort()
  await cancelled
  const waitingAgain = place.reported('wait')
  const image = make(place)
  await waitingAgain
  await other[Symbol.asyncDispose]()
  assert.equal((await image).recipe, 'micro')
})

test('directories of others are left alone', async () => {
  await using place = await testPlace()
  await mkdir(join(place.imagesDir, '.building-mine'))
  assert.deepEqual(await sweepStaging(place.imagesDir), [])
  assert.deepEqual(await sweepStaging(join(place.dir, 'nowhere')), [])
})

test('a lock is free again when it is given back', async () => {
  await using place = await testPlace()
  await using first = await takeLock(place.dir, 'x')
  await first[Symbol.asyncDispose]()
  await using _second = await takeLock(place.dir, 'x')
})

test('a damaged image is not loaded', async () => {
  await using place = await testPlace()
  const { id } = await make(place)
  await assert.rejects(loadImage(place.imagesDir, 'img-000000000000'), { code: 'IMAGE_NOT_FOUND' })
  await assert.rejects(loadImage(place.imagesDir, '../etc'), { code: 'IMAGE_NOT_FOUND' })
  const dir = join(place.imagesDir, id)
  await rm(join(dir, 'kernel'))
  await writeFile(join(dir, 'kernel'), 'A kernel')
  await loadImage(place.imagesDir, id)
  await assert.rejects(verifyImage(place.imagesDir, id), { code: 'BASE_DAMAGED', message: /contents of kernel/ })
  await truncate(join(dir, 'kernel'), 3)
  await assert.rejects(loadImage(place.imagesDir, id), { code: 'BASE_DAMAGED', message: /kernel has 3 bytes/ })
  await rm(join(dir, 'manifest.json'))
  await writeFile(join(dir, 'manifest.json'), '{"schemaVersion": 2}')
  await assert.rejects(loadImage(place.imagesDir, id), { code: 'BASE_DAMAGED', message: /schemaVersion/ })
  await writeFile(join(dir, 'manifest.json'), '{"sche')
  await assert.rejects(loadImage(place.imagesDir, id), { code: 'BASE_DAMAGED', message: /not JSON/ })
  await rm(join(dir, 'manifest.json'))
  await assert.rejects(loadImage(place.imagesDir, id), { code: 'BASE_DAMAGED', message: /no manifest/ })
})
