import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { kinds, makeCache } from '../../opportunistic/testing/realisations.ts'
import { limits } from '../../shared/limits.ts'
import { BlockCache } from './block-cache.ts'
import { blockCacheBytes } from './block-cache-size.ts'

const pageBytes = 4096
const roomCount = 128
const fileBlocks = 256

const contentOf = (key: string) => Buffer.alloc(pageBytes, key)

/** One fill of a checkpoint that is twice what there is room for. @returns blocks that were there */
function fill(cache: BlockCache, name: string): number {
  let hits = 0
  for (let block = 0; block < fileBlocks; block += 1) {
    const key = `${name}/${block}`
    const copy = cache.copy(key, pageBytes, false)
    if (copy === undefined) {
      cache.putOfFill(key, contentOf(key))
      continue
    }
    assert.ok(copy.equals(contentOf(key)))
    hits += 1
  }
  return hits
}

for (const kind of kinds) {
  test(`${kind}: a fill of more than there is room for finds most of what fits`, async () => {
    const under = makeCache(kind, roomCount, pageBytes)
    const cache = new BlockCache(under.cache)
    assert.equal(fill(cache, 'one'), 0)
    for (let count = 0; count < 3; count += 1) {
      const hits = fill(cache, 'one')
      assert.ok(hits >= 0.75 * roomCount, `${hits} of ${roomCount}`)
    }
    // What a guest waited for is kept in any case.
    cache.put('asked for', contentOf('asked for'))
    await setImmediate()
    cache.coolDown()
    assert.ok(cache.take('asked for', pageBytes)?.equals(contentOf('asked for')))
    // Nobody restores the first one any more.
    for (let count = 0; count < 40; count += 1) fill(cache, 'other')
    assert.ok(fill(cache, 'other') >= 0.75 * roomCount)
    under.cache.close()
  })

  test(`${kind}: what is handed out is nobody else's`, async () => {
    const { cache: under, takeAll } = makeCache(kind, roomCount, pageBytes)
    const cache = new BlockCache(under)
    cache.put('a', contentOf('a'))
    assert.ok(cache.hot('a')?.equals(contentOf('a')), 'at once')
    await setImmediate()
    cache.coolDown()
    cache.copy('a', pageBytes, false)?.fill(0)
    const copy = cache.copy('a', pageBytes, false) ?? Buffer.alloc(0)
    assert.ok(copy.equals(contentOf('a')))
    const isLost = takeAll()
    assert.ok(copy.equals(contentOf('a')), 'a copy outlives the cache’s own')
    assert.equal(cache.copy('a', pageBytes, false) === undefined, isLost)
    under.close()
  })
}

test('only a few of those that were just used are ordinary memory', async () => {
  const { cache: under } = makeCache('lru', 1, pageBytes)
  const cache = new BlockCache(under)
  const count = limits.pageServerHotBlocks + 8
  for (let block = 0; block < count; block += 1) cache.put(`${block}`, contentOf(`${block}`))
  const hot = Array.from({ length: count }, (_, block) => `${block}`).filter((key) => cache.hot(key) !== undefined)
  assert.equal(hot.length, limits.pageServerHotBlocks)
  assert.equal(hot[0], '8')
  assert.equal(cache.has('8'), true)
  assert.equal(cache.has('0'), false)
  cache.put('too large', Buffer.alloc(2 * pageBytes, 'x'))
  await setImmediate()
  assert.equal(cache.take('too large', 2 * pageBytes)?.length, 2 * pageBytes, 'used just now')
  cache.coolDown()
  assert.equal(cache.take('too large', 2 * pageBytes), undefined)
})

test('the size is what is asked for, or a part of the host’s memory', () => {
  const GiB = 1024 ** 3
  assert.equal(blockCacheBytes('512', 8 * GiB), GiB / 2)
  for (const text of [undefined, '', '0', '-1', '1.5', 'half', '1e9'])
    assert.equal(blockCacheBytes(text, 8 * GiB), 8 * GiB * limits.pageServerCachePart, text)
  assert.ok(blockCacheBytes(undefined) > 0)
})
