import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { memoryCalls } from '../host/anonymous-memory.ts'
import { errnoError } from '../host/libc.ts'
import { advice, type MemoryCalls } from '../host/memory-calls.ts'
import { limits } from '../shared/limits.ts'
import { arenaObstacle, arenaReadings } from './arena-trial.ts'
import { FramePool } from './frame-pool.ts'
import { type CacheHost, cacheHost, type OpenCacheOptions, openCache } from './open-cache.ts'
import { openWithin } from './testing/under-pressure.ts'

const MiB = 1024 * 1024
const blockBytes = 64 * 1024
const einval = 22

/** Opens a cache on a host that differs from this one. @returns it, and what it warned of */
async function openOn(changes: Partial<CacheHost>, options: Partial<OpenCacheOptions> = {}) {
  const warnings: string[] = []
  const nothing = () => {}
  const log = { debug: nothing, info: nothing, error: nothing, warn: (_: object, text: string) => warnings.push(text) }
  const host = { ...cacheHost, memoryLimitBytes: () => undefined, ...changes }
  const cache = await openCache({ capacityBytes: 512 * MiB, blockBytes, log, host, ...options })
  const into = Buffer.alloc(blockBytes)
  assert.ok(cache.put('k', Buffer.from('works')))
  assert.equal(cache.read('k', into), 5)
  assert.equal(into.toString('latin1', 0, 5), 'works')
  const { kind } = cache
  const { capacityBytes } = cache.figures()
  cache.close()
  return { kind, capacityBytes, warnings }
}

/** A kernel that answers some advice otherwise. */
function kernelThat(changed: (what: number) => 'refuses' | 'ignores' | 'drops' | undefined): Partial<CacheHost> {
  const calls: MemoryCalls = {
    ...memoryCalls,
    advise(address, lengthBytes, what) {
      const how = changed(what)
      if (how === 'refuses') throw errnoError('madvise', einval)
      if (how !== 'ignores') memoryCalls.advise(address, lengthBytes, how === 'drops' ? advice.drop : what)
    },
  }
  return { loadCalls: async () => calls }
}

/** One warning, which says what it is about. */
function assertOnly(warnings: readonly string[], about: RegExp): void {
  assert.equal(warnings.length, 1)
  assert.match(warnings[0] ?? '', about)
}

const plain = { kind: 'lru', capacityBytes: limits.boundedCacheBytes }

test('this host: a cache that the kernel may take from, without a warning', async () => {
  assert.deepEqual(await openOn({}), { kind: 'kernel', capacityBytes: 512 * MiB, warnings: [] })
})

test('without the library for system calls: a plain one, small, with one warning', async () => {
  const missing = Object.assign(new TypeError('no such module'), { code: 'ERR_MODULE_NOT_FOUND' })
  const { warnings, ...rest } = await openOn({ loadCalls: () => Promise.reject(missing) })
  assert.deepEqual(rest, plain)
  assert.deepEqual(warnings, [
    'the library for system calls (koffi) cannot be loaded (ERR_MODULE_NOT_FOUND): the cache is a plain one of 256 MiB that nobody else can use',
  ])
})

test('where the library is really not there, all of this can be loaded, and falls back', () => {
  const script = `
    import { registerHooks } from 'node:module'
    const missing = Object.assign(new Error('not installed'), { code: 'ERR_MODULE_NOT_FOUND' })
    registerHooks({ resolve(name, context, next) { if (name === 'koffi') throw missing; return next(name, context) } })
    const { openCache } = await import('${import.meta.resolve('./open-cache.ts')}')
    const say = (_, text) => console.log(text)
    const cache = await openCache({ capacityBytes: 2 ** 24, blockBytes: 4096, log: { warn: say } })
    console.log(cache.kind, cache.put(1, Buffer.from('works')), cache.read(1, Buffer.alloc(4096)))`
  const output = execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' })
  assert.equal(
    output,
    'the library for system calls (koffi) cannot be loaded (ERR_MODULE_NOT_FOUND): ' +
      'the cache is a plain one of 16 MiB that nobody else can use\nlru true 5\n',
  )
})

test('MADV_FREE refused', async () => {
  const { warnings, ...rest } = await openOn(kernelThat((what) => (what === advice.free ? 'refuses' : undefined)))
  assert.deepEqual(rest, plain)
  assertOnly(warnings, /refuses MADV_FREE \(EINVAL\)/)
})

test('MADV_FREE that takes at once, as kernels before 4.12 without swap do', async () => {
  const { warnings, ...rest } = await openOn(kernelThat((what) => (what === advice.free ? 'drops' : undefined)))
  assert.deepEqual(rest, plain)
  assertOnly(warnings, /takes pages at once/)
})

test('MADV_FREE that does nothing, as a substitute of Linux may', async () => {
  const { warnings, ...rest } = await openOn(
    kernelThat((what) => (what === advice.free || what === advice.pageOut ? 'ignores' : undefined)),
  )
  assert.deepEqual(rest, plain)
  assertOnly(warnings, /does not take pages/)
})

test('a kernel too old to take pages on request is believed', async () => {
  const host = kernelThat((what) => (what === advice.pageOut ? 'refuses' : undefined))
  assert.equal((await openOn(host)).kind, 'kernel')
})

test('huge pages forced on: a cache that the kernel may take from, if they are seen to be kept away', async () => {
  const forced = { ...arenaReadings, hugePages: () => ['always'] }
  const here = await openOn({ readings: forced })
  assert.deepEqual([here.kind, here.warnings], ['kernel', []])
  const deaf = kernelThat((what) => (what === advice.noHugePages ? 'ignores' : undefined))
  const { warnings, ...rest } = await openOn({ ...deaf, readings: forced })
  assert.deepEqual(rest, plain)
  assertOnly(warnings, /huge pages are forced on/)
  const without = kernelThat((what) => (what === advice.noHugePages ? 'refuses' : undefined))
  assert.equal((await openOn({ ...without, readings: { ...forced, hugePages: () => [] } })).kind, 'kernel')
  assert.equal((await openOn({ ...without, readings: forced })).kind, 'lru')
})

test('a control group smaller than the cache: a smaller one, with one warning', async () => {
  const { kind, capacityBytes, warnings } = await openOn({ memoryLimitBytes: () => 100 * MiB })
  assert.deepEqual({ kind, capacityBytes }, { kind: 'kernel', capacityBytes: 50 * MiB })
  assert.deepEqual(warnings, ['the control group of this process has 100 MiB: the cache has 50 MiB instead of 512 MiB'])
  assert.deepEqual((await openOn({ memoryLimitBytes: () => 512 * MiB })).warnings, [])
})

test('a process that really has less memory than the cache: half of it, which is filled and nobody is killed', async (t) => {
  const opened = await openWithin(256 * MiB, { capacityBytes: 512 * MiB, blockBytes })
  if (opened === undefined) {
    t.diagnostic('no limit on memory can be set here')
    return
  }
  const { kind, roomBytes, warnings } = opened.result
  assert.deepEqual([kind, roomBytes, opened.oomKillCount], ['kernel', 128 * MiB, 0])
  assertOnly(warnings, /has 256 MiB: the cache has 128 MiB instead of 512 MiB/)
})

test('a control group with room for a few blocks only: a plain one within it, with one warning', async () => {
  const { kind, capacityBytes, warnings } = await openOn({ memoryLimitBytes: () => MiB })
  assert.deepEqual({ kind, capacityBytes }, { kind: 'lru', capacityBytes: MiB / 2 })
  assertOnly(warnings, /room for 8 blocks only/)
})

test('a host that is short of address space', async () => {
  let calls = 0
  const full: MemoryCalls = {
    ...memoryCalls,
    map(lengthBytes) {
      calls += 1
      if (lengthBytes > MiB) throw errnoError('mmap', 12)
      return memoryCalls.map(lengthBytes)
    },
  }
  const { warnings, ...rest } = await openOn({ loadCalls: async () => full })
  assert.deepEqual(rest, plain)
  assertOnly(warnings, /512 MiB cannot be mapped \(ENOMEM\)/)
  assert.equal(calls, 2)
})

test('a pool of frames is preferred to a plain cache, if its frames are large enough', async () => {
  const none: Partial<CacheHost> = { loadCalls: () => Promise.reject(new Error('none')) }
  const frames = (frameBytes: number) => new FramePool(FramePool.share({ frameCount: 32, frameBytes }))
  const { warnings, ...rest } = await openOn(none, { pool: frames(blockBytes) })
  assert.deepEqual(rest, { kind: 'free-list', capacityBytes: 32 * blockBytes })
  assert.equal(warnings.length, 1)
  assert.equal((await openOn(none, { pool: frames(4096) })).kind, 'lru')
})

test('what this host says can be read', () => {
  assert.equal(arenaObstacle(memoryCalls), undefined)
  assert.ok(arenaReadings.hugePages().every((word) => /^\w+$/.test(word)))
  const { address } = memoryCalls.map(4096)
  assert.ok(arenaReadings.mappingFlags(address)?.includes('rd'))
  assert.equal(arenaReadings.mappingFlags(1), undefined)
})
