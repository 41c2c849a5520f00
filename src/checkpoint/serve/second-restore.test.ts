/** What the cache of decompressed blocks is for, and what happens when it loses them. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { pageBytes } from '../../memory/base.ts'
import type { CacheFigures, Key, OpportunisticCache } from '../../opportunistic/cache.ts'
import { kinds, makeCache } from '../../opportunistic/testing/realisations.ts'
import { untilRestored } from '../../qemu/postcopy/destination.ts'
import { withoutUserfaultfd as skip } from '../../qemu/testing/userfaultfd.ts'
import { limits } from '../../shared/limits.ts'
import { serveRanges } from '../file/testing/range-server.ts'
import { cachedBlockBytes } from './block-cache-size.ts'
import type { PageServerClient } from './client.ts'
import type { RestoreRequest } from './protocol.ts'
import type { RestoreStats } from './stats-schema.ts'
import {
  type Checkpointed,
  differences,
  freeFromPage,
  outcome,
  readGuest,
  ServedGuests,
} from './testing/served-guest.ts'

/** Restores a guest, which asks for some pages meanwhile, and compares all of its memory. */
async function restored(
  guests: ServedGuests,
  client: PageServerClient,
  stored: Checkpointed,
  changes: Partial<RestoreRequest> = {},
): Promise<RestoreStats> {
  const qemu = await guests.destination()
  const request = guests.request(stored, qemu, changes)
  const over = outcome(client, request.restoreId)
  // Until then what is not there reads as zeros.
  await Promise.all([client.serve(request), untilRestored(qemu)])
  for (const page of [9000, 16000, 12345])
    assert.ok(
      (await readGuest(qemu, page * pageBytes, pageBytes)).equals(
        stored.memory.subarray(page * pageBytes, (page + 1) * pageBytes),
      ),
    )
  const { notice, stats } = await over
  assert.equal(notice, 'completed')
  assert.deepEqual(await differences(qemu, stored.memory), [])
  await qemu.kill()
  await client.drop(request.restoreId)
  return stats
}

/** Bytes that a process has read of files and sockets, from the page cache or not. */
function readBytesOf(pid: number): number {
  return Number(/^rchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))?.[1])
}

test('a second restore decompresses next to nothing, and reads next to nothing of the file', { skip }, async () => {
  await using guests = new ServedGuests()
  const stored = await guests.checkpoint()
  const client = await guests.server()
  const blockCount = stored.written.counts.blocks
  const marks = [readBytesOf(client.pid)]
  const first = await restored(guests, client, stored)
  marks.push(readBytesOf(client.pid))
  // With another policy it asks in another order.
  const second = await restored(guests, client, stored, { policy: 'none' })
  marks.push(readBytesOf(client.pid))
  assert.ok(first.blocksRead >= blockCount, `${first.blocksRead} of ${blockCount}`)
  assert.ok(second.blocksRead < 0.05 * first.blocksRead, `${second.blocksRead} after ${first.blocksRead} blocks`)
  assert.ok(second.blockBytesRead < 0.05 * first.blockBytesRead)
  assert.ok(second.blockHits >= blockCount - second.blocksRead)
  const [before = 0, between = 0, after = 0] = marks
  assert.ok(between - before > first.blockBytesRead, 'all reads are seen')
  assert.ok(after - between < 0.05 * (between - before), `${after - between} after ${between - before} bytes`)
  const { hits, heldBytes, freeHeldBytes, kind } = await client.cache()
  // The others were still as they had just been used.
  assert.ok(hits >= blockCount - limits.pageServerHotBlocks, `${hits} of ${blockCount}`)
  assert.ok(heldBytes >= (blockCount - second.blocksRead) * cachedBlockBytes)
  if (kind === 'kernel') assert.equal(freeHeldBytes, heldBytes)
})

test('a second restore from another host fetches next to nothing', { skip }, async () => {
  await using guests = new ServedGuests()
  const stored = await guests.checkpoint()
  await using far = await serveRanges(await readFile(stored.path))
  const client = await guests.server()
  const fetchedBytes = () => far.seen.splice(0).reduce((sum, { first, last }) => sum + last + 1 - first, 0)
  await restored(guests, client, stored, { checkpoint: { url: far.url } })
  const first = fetchedBytes()
  const { blocksRead } = await restored(guests, client, stored, { checkpoint: { url: far.url } })
  const second = fetchedBytes()
  assert.equal(blocksRead, 0)
  assert.ok(second < 0.05 * first, `${second} after ${first} bytes`)
  // The same checkpoint, wherever it lies.
  assert.equal((await restored(guests, client, stored)).blocksRead, 0)
})

test('a host where memory cannot be taken keeps less, and restores all the same', { skip }, async () => {
  await using guests = new ServedGuests()
  const stored = await guests.checkpoint()
  // Too small for anything but the plain cache.
  const client = await guests.server({ RAMET_BLOCK_CACHE_MIB: '1' })
  for (let count = 0; count < 2; count += 1) {
    const { blocksRead } = await restored(guests, client, stored)
    assert.ok(blocksRead > 0)
  }
  const { kind, capacityBytes, replaced } = await client.cache()
  assert.deepEqual([kind, capacityBytes], ['lru', 1024 * 1024])
  assert.ok(replaced > 0)
})

/** Loses a part of what it holds, while it is used. */
class LosingCache implements OpportunisticCache {
  readonly kind
  readonly blockBytes
  isLosing = true
  readonly #cache: OpportunisticCache
  readonly #lose: () => void
  #reads = 0

  constructor(cache: OpportunisticCache, lose: () => void) {
    this.kind = cache.kind
    this.blockBytes = cache.blockBytes
    this.#cache = cache
    this.#lose = lose
  }

  has(key: Key): boolean {
    return this.#cache.has(key)
  }

  read(key: Key, into: Buffer, at?: number): number | undefined {
    this.#reads += 1
    if (this.isLosing && this.#reads % 16 === 0) this.#lose()
    return this.#cache.read(key, into, at)
  }

  put(key: Key, bytes: Uint8Array): boolean {
    return this.#cache.put(key, bytes)
  }

  drop(key: Key): void {
    this.#cache.drop(key)
  }

  giveBack(bytes: number): number {
    return this.#cache.giveBack(bytes)
  }

  figures(): CacheFigures {
    return this.#cache.figures()
  }

  close(): void {
    this.#cache.close()
  }
}

for (const kind of kinds)
  test(`memory that is taken from a cache of the kind ${kind} is seen as time only`, { skip }, async () => {
    await using guests = new ServedGuests()
    const stored = await guests.checkpoint()
    const { cache, takeAll } = makeCache(kind, 1024, cachedBlockBytes)
    const losing = new LosingCache(cache, takeAll)
    const client = await guests.serverHere(losing)
    const first = await restored(guests, client, stored)
    assert.ok(first.blocksRead >= stored.written.counts.blocks)
    const isLost = takeAll()
    const second = await restored(guests, client, stored)
    // All of it has to be read again, and what was taken meanwhile once more.
    if (isLost) assert.ok(second.blocksRead > 0.9 * stored.written.counts.blocks, `${second.blocksRead}`)
    else assert.equal(second.blocksRead, 0)
    losing.isLosing = false
    const third = await restored(guests, client, stored, { policy: 'physical' })
    assert.equal(cache.figures().lost > 0, isLost)
    assert.ok(third.blockHits > 0, 'and some of it is there again')
    // What is given back is gone too.
    const holds = kind !== 'free-list'
    assert.equal((await client.giveBack(1024 * cachedBlockBytes)) > 0, holds)
    assert.equal((await restored(guests, client, stored)).blocksRead > 0, isLost || holds)
  })

test('the last pages of what was used are given back too', { skip }, async () => {
  await using guests = new ServedGuests()
  const stored = await guests.checkpoint()
  const client = await guests.server()
  const changes = { fill: 'none', policy: 'none' } as const
  const ask = async () => {
    const qemu = await guests.destination()
    const request = guests.request(stored, qemu, changes)
    await Promise.all([client.serve(request), untilRestored(qemu)])
    await readGuest(qemu, (freeFromPage + 1) * pageBytes, pageBytes)
    await qemu.kill()
    const { blocksRead } = await client.mark(request.restoreId, 'asked')
    await client.drop(request.restoreId)
    return blocksRead
  }
  assert.ok((await ask()) > 0)
  assert.equal(await ask(), 0)
  await client.giveBack(2 ** 40)
  assert.ok((await ask()) > 0)
})
