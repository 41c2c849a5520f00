/** What holds for all realisations. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import type { Key } from './cache.ts'
import { isWhole, Payload } from './testing/payload.ts'
import { kinds, makeCache } from './testing/realisations.ts'

const pageBytes = 4096

for (const kind of kinds) {
  describe(`a cache of the kind ${kind}`, () => {
    it('gives back what was put, at any length, by numbers and by texts', () => {
      const { cache } = makeCache(kind, 64, 2 * pageBytes)
      const keys: Key[] = [0, 1, -1, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER, '', '1', 'sha256:abc:7']
      const lengths = [1, 7, 8, 9, 4095, 4096, 4097, 4099, 4104, 8191, 8192]
      const payload = Buffer.from(Array.from({ length: 2 * pageBytes }, (_, at) => (at * 7 + (at >> 8)) & 255))
      const into = Buffer.alloc(2 * pageBytes + 3)
      for (const length of lengths) {
        for (const key of keys) {
          assert.ok(cache.put(key, payload.subarray(0, length)))
          into.fill(0xaa)
          assert.equal(cache.read(key, into, 3), length)
          assert.ok(into.subarray(3, 3 + length).equals(payload.subarray(0, length)), `${length} bytes`)
          assert.deepEqual([...into.subarray(0, 3)], [0xaa, 0xaa, 0xaa])
        }
      }
      assert.equal(cache.kind, kind)
      cache.close()
    })

    it('tells a block of zeros from one that was taken', () => {
      const { cache, takeAll } = makeCache(kind, 8, pageBytes)
      const into = Buffer.alloc(pageBytes, 1)
      assert.equal(cache.has(1), false)
      cache.put(1, Buffer.alloc(pageBytes))
      assert.equal(cache.has(1), true)
      assert.equal(cache.read(1, into), pageBytes)
      assert.ok(into.every((byte) => byte === 0))
      const isLost = takeAll()
      assert.equal(cache.read(1, into), isLost ? undefined : pageBytes)
      assert.equal(cache.has(1), !isLost)
      assert.equal(cache.figures().misses, 0, 'looking whether it is there is no miss')
      cache.close()
    })

    it('misses what was taken, leaves nothing of it to be used, and takes it again', () => {
      const { cache, takeAll } = makeCache(kind, 32, 4 * pageBytes)
      const payload = new Payload(1, 4 * pageBytes)
      for (let key = 0; key < 32; key += 1) cache.put(key, payload.make(key, 1, 4 * pageBytes))
      const isLost = takeAll()
      const into = Buffer.alloc(4 * pageBytes, 1)
      for (let key = 0; key < 32; key += 1) {
        const length = cache.read(key, into)
        if (isLost) assert.ok(length === undefined && into.every((byte) => byte === 0))
        else assert.ok(isWhole(into, key))
        into.fill(1)
      }
      assert.equal(cache.figures().lost, isLost ? 32 : 0)
      assert.equal(cache.figures().freeHeldBytes, 0)
      for (let key = 0; key < 32; key += 1) assert.ok(cache.put(key, payload.make(key, 2, 4 * pageBytes)))
      for (let key = 0; key < 32; key += 1) {
        assert.equal(cache.read(key, into), into.length)
        assert.ok(isWhole(into, key))
      }
      assert.equal(cache.figures().freeHeldBytes, isLost ? 32 * 4 * pageBytes : 0)
      cache.close()
    })

    it('never holds more blocks than it has room for, and lets older ones go', () => {
      const { cache } = makeCache(kind, 10, pageBytes)
      const payload = new Payload(2, pageBytes)
      for (let key = 0; key < 25; key += 1) cache.put(key, payload.make(key, 1, pageBytes))
      const into = Buffer.alloc(pageBytes)
      const there = Array.from({ length: 25 }, (_, key) => key).filter((key) => cache.read(key, into) !== undefined)
      assert.deepEqual(there, [15, 16, 17, 18, 19, 20, 21, 22, 23, 24])
      const { heldBytes, capacityBytes, hits, misses, puts, replaced, lost } = cache.figures()
      assert.deepEqual([heldBytes, capacityBytes], [10 * pageBytes, 10 * pageBytes])
      assert.deepEqual(
        { hits, misses, puts, replaced, lost },
        { hits: 10, misses: 15, puts: 25, replaced: 15, lost: 0 },
      )
      cache.close()
    })

    it('refuses blocks that are too large, and forgets what they were to replace', () => {
      const { cache } = makeCache(kind, 4, pageBytes)
      const into = Buffer.alloc(pageBytes)
      assert.ok(cache.put('k', Buffer.from('old')))
      assert.ok(!cache.put('k', Buffer.alloc(pageBytes + 1)))
      assert.equal(cache.read('k', into), undefined)
      assert.ok(!cache.put('k', Buffer.alloc(0)))
      assert.equal(cache.figures().refused, 2)
      assert.ok(cache.put('k', Buffer.from('new')))
      assert.equal(cache.read('k', into), 3)
      assert.throws(() => cache.read('k', Buffer.alloc(2)), /room for the block/)
      assert.throws(() => cache.read('k', into, pageBytes - 2), /room for the block/)
      assert.throws(() => cache.put(1.5, into), /whole/)
      cache.close()
    })

    it('gives memory back when it is told to, keeps the rest, and goes on', () => {
      const { cache } = makeCache(kind, 64, 256 * pageBytes)
      const block = Buffer.alloc(256 * pageBytes)
      for (let key = 0; key < 64; key += 1) cache.put(key, block.fill(key + 1))
      const given = cache.giveBack(20 * block.length)
      assert.ok(kind === 'free-list' ? given === 0 : given >= 20 * block.length)
      assert.equal(cache.figures().heldBytes, 64 * block.length - given)
      const there = Array.from({ length: 64 }, (_, key) => key).filter((key) => {
        const length = cache.read(key, block)
        return length !== undefined && block.every((byte) => byte === key + 1)
      })
      assert.equal(there.length, 64 - given / block.length)
      assert.ok(cache.put(100, block.fill(100)))
      assert.equal(cache.read(100, block), block.length)
      assert.ok(cache.giveBack(Number.MAX_SAFE_INTEGER) >= 0)
      cache.close()
      assert.equal(cache.giveBack(1), 0)
    })

    it('holds nothing after it was closed, and may be closed twice', () => {
      const { cache } = makeCache(kind, 4, pageBytes)
      cache.put(1, Buffer.from('x'))
      cache.close()
      cache.close()
      assert.equal(cache.read(1, Buffer.alloc(pageBytes)), undefined)
      assert.ok(!cache.put(1, Buffer.from('x')))
      assert.equal(cache.figures().heldBytes, 0)
    })

    it('never answers with anything but the last that was put under a key', () => {
      const step = fc.record({
        what: fc.constantFrom('put', 'put', 'read', 'read', 'drop', 'takeAll'),
        key: fc.oneof(fc.integer({ min: 0, max: 40 }), fc.constantFrom(2 ** 33, 2 ** 34, 'a', 'b')),
        length: fc.integer({ min: 1, max: 2 * pageBytes }),
      })
      const property = fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const { cache, takeAll } = makeCache(kind, 16, 2 * pageBytes)
        const last = new Map<Key, Buffer>()
        const into = Buffer.alloc(2 * pageBytes)
        steps.forEach(({ what, key, length }, at) => {
          if (what === 'takeAll') takeAll()
          else if (what === 'drop') {
            cache.drop(key)
            last.delete(key)
          } else if (what === 'put') {
            last.set(key, Buffer.alloc(length, at + 1))
            assert.ok(cache.put(key, Buffer.alloc(length, at + 1)))
          } else {
            const got = cache.read(key, into)
            if (got !== undefined) assert.ok(last.get(key)?.equals(into.subarray(0, got)))
          }
        })
        cache.close()
      })
      void fc.assert(property, { numRuns: 60 })
    })
  })
}
