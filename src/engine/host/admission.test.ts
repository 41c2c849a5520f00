import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { MemoryInfo } from '../../host/meminfo.ts'
import { limits } from '../../shared/limits.ts'
import { silentLog } from '../../shared/log.ts'
import { FakePageServer } from '../testing/fake-page-server.ts'
import { ManualClock } from '../testing/manual-clock.ts'
import { Admission } from './admission.ts'

const MiB = 1024 * 1024

type Host = Partial<MemoryInfo> & {
  server?: FakePageServer
  missingBytes?: number
  /** what the kernel drops when asked; it cannot be asked without */
  reclaim?: (bytes: number) => void
}

/** A host with so much memory, a reserve of 100 MiB, and a page server if there is one. */
function admissionOf(of: Host) {
  const { server, missingBytes = 0, reclaim, ...changes } = of
  const memory: MemoryInfo = {
    ...{ totalBytes: 4096 * MiB, availableBytes: 1000 * MiB, freeBytes: 1000 * MiB, sharedBytes: 0, swapFreeBytes: 0 },
    ...changes,
  }
  const settings = {
    ...{ dataDir: '/nowhere', cacheDir: '/nowhere', logLevel: 'info', collapseBytesPerSecond: 1 },
    ...{ restoreFill: 'paced' as const, restorePolicy: 'auto' as const, memoryReserveBytes: 100 * MiB },
  }
  const clock = new ManualClock()
  const kernel = { asked: 0 }
  const reclaimMemory = async (bytes: number) => {
    kernel.asked += 1
    reclaim?.(bytes)
    return reclaim !== undefined
  }
  const context = { clock, log: silentLog, readMemory: () => memory, reclaimMemory, settings }
  return { admission: new Admission(context, { pageServer: server, missingBytes }), clock, memory, kernel }
}

const need = (guestMiB: number, vmmMiB = 0) => ({ what: 'a start', guestBytes: guestMiB * MiB, vmmBytes: vmmMiB * MiB })

function serverWith(freeHeldBytes: number): FakePageServer {
  const server = new FakePageServer(
    () => {},
    () => {},
  )
  server.report = { ...server.report, heldBytes: freeHeldBytes, freeHeldBytes }
  return server
}

test('what is admitted is promised until it is over, and what does not fit is refused', async () => {
  const { admission } = admissionOf({})
  const claim = await admission.admit(need(500, 160))
  assert.equal(admission.capacity.promisedBytes, 660 * MiB)
  assert.equal(admission.capacity.startableBytes, 240 * MiB)
  claim.guestHasCome()
  assert.equal(admission.capacity.promisedBytes, 160 * MiB)
  claim[Symbol.dispose]()
  claim[Symbol.dispose]()
  assert.equal(admission.capacity.promisedBytes, 0)
  await assert.rejects(admission.admit(need(901)), { code: 'NO_CAPACITY', message: /needs 901 MiB/ })
  assert.throws(() => admission.check(need(901)), { code: 'NO_CAPACITY' })
  assert.equal(admission.counts.refusedCount, 2)
})

test('who takes the place of a vm that ran is promised what it needs, whether it fits or not', async () => {
  const { admission } = admissionOf({ availableBytes: 150 * MiB })
  await assert.rejects(admission.admit(need(160)), { code: 'NO_CAPACITY' })
  using claim = await admission.promise(need(160))
  assert.equal(admission.capacity.promisedBytes, 160 * MiB)
  claim.guestHasCome()
})

test('memory that still comes to restored vms is promised', () => {
  const { admission } = admissionOf({ missingBytes: 300 * MiB })
  assert.equal(admission.capacity.startableBytes, 600 * MiB)
})

test('a start that would fit but for others under way waits for them', async () => {
  const { admission, memory } = admissionOf({})
  const first = await admission.admit(need(500))
  const second = admission.admit(need(500))
  const given = new AbortController()
  const third = admission.admit(need(500), given.signal)
  admission.check(need(500))
  given.abort(new Error('not wanted any more'))
  await assert.rejects(third, /not wanted any more/)
  // It took less than it might have.
  memory.availableBytes = 700 * MiB
  first[Symbol.dispose]()
  const claim = await second
  assert.equal(admission.capacity.promisedBytes, 500 * MiB)
  // One that would not fit after them either is told at once.
  await assert.rejects(admission.admit(need(700)), { code: 'NO_CAPACITY' })
  claim[Symbol.dispose]()
  assert.equal(admission.capacity.promisedBytes, 0)
})

test('a hundred children of a vm with 100 MiB of delta are admitted, four at a time', async () => {
  const { admission, memory } = admissionOf({ totalBytes: 24_576 * MiB, availableBytes: 20_000 * MiB })
  let forked = 0
  const forkSome = async () => {
    while (forked < 100) {
      forked += 1
      using claim = await admission.admit(need(100, 160))
      // What a child has when it is up.
      memory.availableBytes -= 150 * MiB
      claim.guestHasCome()
    }
  }
  await Promise.all([forkSome(), forkSome(), forkSome(), forkSome()])
  assert.deepEqual([admission.counts.refusedCount, admission.capacity.promisedBytes], [0, 0])
})

test('the cache gives back what a start and the reserve lack, and the start goes on when it has', async () => {
  const server = serverWith(800 * MiB)
  const { admission, memory } = admissionOf({ server, freeBytes: 200 * MiB })
  server.onGiveBack = (bytes) => {
    memory.freeBytes += bytes
  }
  const claim = await admission.admit(need(150))
  assert.deepEqual(server.gaveBack, [50 * MiB])
  assert.equal(admission.counts.gaveBackBytes, 50 * MiB)
  // What it took is the reserve's.
  memory.freeBytes = 60 * MiB
  memory.availableBytes = 810 * MiB
  claim[Symbol.dispose]()
  await admission.settled()
  assert.deepEqual(server.gaveBack, [50 * MiB, 40 * MiB])
})

test('the kernel drops what the cache does not give, by which the reserve is free', async () => {
  const server = serverWith(200 * MiB)
  const reclaimed: number[] = []
  const host = admissionOf({
    ...{ server, availableBytes: 1000 * MiB, freeBytes: 200 * MiB },
    reclaim: (bytes) => {
      reclaimed.push(bytes / MiB)
      host.memory.freeBytes += bytes
    },
  })
  server.onGiveBack = (bytes) => {
    host.memory.freeBytes += bytes
  }
  const claim = await host.admission.admit(need(500))
  // 400 are lacking: a quarter of what can be dropped is the cache's.
  assert.deepEqual(server.gaveBack, [100 * MiB])
  assert.deepEqual(reclaimed, [300])
  assert.equal(host.memory.freeBytes, 600 * MiB)
  claim[Symbol.dispose]()
  await host.admission.settled()
  assert.deepEqual(reclaimed, [300], 'nothing is lacking any more')
})

test('without a page server the kernel is asked all the same, never for more at a time than is sane, and not again in vain', async () => {
  const wishes: number[] = []
  const host = admissionOf({ availableBytes: 3000 * MiB, freeBytes: 0, reclaim: (bytes) => wishes.push(bytes / MiB) })
  using _ = await host.admission.admit(need(2000))
  assert.deepEqual(wishes, [1024])
  const none = admissionOf({ freeBytes: 0 })
  using _first = await none.admission.admit(need(150))
  using _second = await none.admission.admit(need(150))
  assert.equal(none.kernel.asked, 1)
})

test('memory that comes by and by is promised, but nothing is given back for it ahead', async () => {
  const server = serverWith(800 * MiB)
  const { admission } = admissionOf({ server, freeBytes: 300 * MiB })
  const claim = await admission.admit({ ...need(600, 100), isLazy: true })
  assert.equal(admission.capacity.promisedBytes, 700 * MiB)
  assert.deepEqual(server.gaveBack, [])
  claim[Symbol.dispose]()
})

test('nobody is asked without a page server, or where its cache has nothing for others', async () => {
  const none = admissionOf({ freeBytes: 0 })
  using _ = await none.admission.admit(need(150))
  for (const change of [{ kind: 'lru' as const }, { freeHeldBytes: 0 }, { lazyFreeBytes: 0 }]) {
    const server = serverWith(800 * MiB)
    server.report = { ...server.report, ...change }
    const { admission } = admissionOf({ server, freeBytes: 0 })
    using _claim = await admission.admit(need(150))
    assert.deepEqual(server.gaveBack, [], JSON.stringify(change))
  }
})

test('a start does not wait for long, and does not fail, when the page server does not answer or dies', async () => {
  const server = serverWith(800 * MiB)
  const asked = Promise.withResolvers<void>()
  const answer = Promise.withResolvers<void>()
  server.onGiveBack = () => {
    asked.resolve()
    return answer.promise
  }
  const { admission, clock } = admissionOf({ server, freeBytes: 0 })
  const admitted = admission.admit(need(150))
  await asked.promise
  await clock.advance(limits.giveBackWaitMs)
  const claim = await admitted
  server.die()
  answer.resolve()
  await admission.settled()
  assert.equal(admission.counts.gaveBackBytes, 0)
  claim[Symbol.dispose]()
  await admission.settled()
})
