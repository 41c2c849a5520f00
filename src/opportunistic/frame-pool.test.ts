import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { FramePool, type FramePoolOptions, handleWords } from './frame-pool.ts'
import { FreeListCache } from './free-list-cache.ts'

const frameBytes = 4096

function makePool(options: Partial<FramePoolOptions> = {}): FramePool {
  return new FramePool(FramePool.share({ frameCount: 4, frameBytes, ...options }))
}

/** An opportunistic allocation: taken, filled off the list, published. */
function hold(pool: FramePool, byte: number): { frame: number; handle: Int32Array } {
  const handle = new Int32Array(handleWords)
  const frame = pool.take()
  pool.write(frame, Buffer.alloc(frameBytes, byte))
  pool.publish(frame, handle, 0)
  return { frame, handle }
}

const into = Buffer.alloc(frameBytes)
const reads = (pool: FramePool, handle: Int32Array, byte: number) =>
  pool.read(handle, 0, into, 0, frameBytes) && into.every((other) => other === byte)

test('a published frame is free and in use: read until it is taken, and taken without a word', () => {
  const pool = makePool({ frameCount: 1 })
  const { frame, handle } = hold(pool, 7)
  assert.deepEqual(pool.figures(), {
    ...{ frameCount: 1, unreferencedCount: 0, heldCount: 1, ownedCount: 0, allocations: 1, allocationsFromHeld: 0 },
  })
  assert.ok(reads(pool, handle, 7))
  assert.equal(pool.take(), frame)
  assert.ok(!pool.read(handle, 0, into, 0, frameBytes))
  assert.equal(pool.take(), -1)
  assert.deepEqual(pool.figures(), {
    ...{ frameCount: 1, unreferencedCount: 0, heldCount: 0, ownedCount: 1, allocations: 2, allocationsFromHeld: 1 },
  })
})

test('frames that nobody reads go first, then published ones, oldest first', () => {
  const pool = makePool()
  const held = [1, 2, 3].map((byte) => hold(pool, byte))
  const [first, second, third] = held.map(({ frame }) => frame)
  assert.deepEqual([pool.take(), pool.take(), pool.take(), pool.take()], [3, first, second, third])
  pool.free(second ?? -1)
  pool.free(third ?? -1)
  assert.equal(pool.take(), third)
})

test('the generation rises with each allocation, and with nothing else', () => {
  const pool = makePool({ frameCount: 1 })
  const seen: bigint[] = []
  for (let round = 0; round < 3; round += 1) {
    const frame = pool.take()
    seen.push(pool.generation(frame))
    pool.free(frame)
    seen.push(pool.generation(frame))
  }
  assert.deepEqual(seen, [1n, 1n, 2n, 2n, 3n, 3n])
})

test('who lets go of a frame early has it taken first; letting go too late does nothing', () => {
  const pool = makePool()
  const [, second] = [hold(pool, 1), hold(pool, 2), hold(pool, 3), hold(pool, 4)]
  pool.giveUp(second?.handle ?? new Int32Array(3), 0)
  assert.equal(pool.figures().unreferencedCount, 1)
  assert.equal(pool.take(), second?.frame)
  pool.giveUp(second?.handle ?? new Int32Array(3), 0)
  assert.deepEqual([pool.figures().heldCount, pool.figures().ownedCount], [3, 1])
})

test('two holders of one frame lose it together', () => {
  const pool = makePool({ frameCount: 1 })
  const { handle } = hold(pool, 5)
  const other = Int32Array.from(handle)
  assert.ok(reads(pool, handle, 5) && reads(pool, other, 5))
  pool.take()
  assert.ok(!reads(pool, handle, 5) && !reads(pool, other, 5))
})

test('nobody writes into a frame that is on the list, and none is given back twice', () => {
  const pool = makePool()
  const { frame, handle } = hold(pool, 1)
  assert.throws(() => pool.write(frame, Buffer.from('x')), /only its owner/)
  assert.throws(() => pool.copyOwn(frame, into), /by its handle/)
  assert.throws(() => pool.free(frame), /given back once/)
  assert.throws(() => pool.publish(frame, new Int32Array(3), 0), /given back once/)
  assert.ok(reads(pool, handle, 1))
  const own = pool.take()
  assert.throws(() => pool.write(own, Buffer.alloc(frameBytes), 1), /fits/)
  pool.write(own, Buffer.from('mine'), 100)
  pool.copyOwn(own, into)
  assert.equal(into.toString('latin1', 100, 104), 'mine')
})

for (const first of [2n ** 31n - 2n, 2n ** 32n - 2n, 2n ** 53n - 2n, 2n ** 63n - 2n, 2n ** 64n - 2n]) {
  test(`generations that wrap behind ${first} keep handles apart`, () => {
    const pool = makePool({ frameCount: 1, firstGeneration: first })
    const old: Int32Array[] = []
    for (let round = 1; round <= 5; round += 1) {
      const { handle, frame } = hold(pool, round)
      assert.equal(pool.generation(frame), BigInt.asUintN(64, first + BigInt(round)))
      assert.ok(reads(pool, handle, round))
      for (const earlier of old) assert.ok(!pool.read(earlier, 0, into, 0, frameBytes))
      old.push(handle)
    }
  })
}

test('the same low word under another high word is another generation', () => {
  const pool = makePool({ frameCount: 1, firstGeneration: 2n ** 32n })
  const { handle } = hold(pool, 1)
  const earlier = Int32Array.of(handle[0] ?? 0, handle[1] ?? 0, 0)
  assert.ok(reads(pool, handle, 1))
  assert.ok(!pool.read(earlier, 0, into, 0, frameBytes))
})

test('a frame that was read is passed over once, as often as an allocation may', () => {
  const pool = makePool({ secondChances: 2 })
  const held = [1, 2, 3, 4].map((byte) => hold(pool, byte))
  for (const { handle } of held.slice(0, 3)) pool.read(handle, 0, into, 0, frameBytes)
  // Two of the three are passed over, the third is taken: an allocation stays cheap.
  assert.equal(pool.take(), held[2]?.frame)
  assert.equal(pool.take(), held[3]?.frame)
  assert.equal(pool.take(), held[0]?.frame)
})

test('a consumer at its cap lets its own oldest go, and takes no more frames from others', () => {
  const pool = makePool({ frameCount: 8 })
  const modest = new FreeListCache({ pool, maxFrames: 2 })
  const other = new FreeListCache({ pool })
  for (let key = 0; key < 6; key += 1) other.put(key, Buffer.from([key]))
  for (let key = 0; key < 20; key += 1) modest.put(key, Buffer.from([key]))
  assert.equal(modest.figures().heldBytes, 2 * frameBytes)
  assert.equal(modest.figures().replaced, 18)
  for (let key = 0; key < 6; key += 1) assert.equal(other.read(key, into), 1)
  assert.deepEqual([modest.read(19, into), modest.read(17, into)], [1, undefined])
})

test('a second chance holds within a cap too', () => {
  const pool = makePool({ frameCount: 8, secondChances: 1 })
  const cache = new FreeListCache({ pool, maxFrames: 2 })
  cache.put('hot', Buffer.from('h'))
  for (let key = 0; key < 20; key += 1) {
    cache.put(key, Buffer.from([key]))
    assert.equal(cache.read('hot', into), 1)
  }
})

test('a thread that ended while it held the lock ends allocation, not reading', () => {
  const pool = makePool()
  const { handle } = hold(pool, 9)
  const cache = new FreeListCache({ pool })
  new Int32Array(pool.shared.control)[0] = 1
  assert.ok(!cache.put(1, Buffer.from('x')))
  assert.ok(pool.isBroken)
  assert.equal(pool.take(), -1)
  assert.ok(reads(pool, handle, 9))
})

test('the list holds each frame once, whatever is done', () => {
  const step = fc.record({
    what: fc.constantFrom('take', 'publish', 'publish', 'free', 'giveUp', 'read'),
    which: fc.nat(1000),
  })
  const property = fc.property(fc.array(step, { maxLength: 300 }), fc.integer({ min: 0, max: 3 }), (steps, chances) => {
    const pool = makePool({ frameCount: 6, secondChances: chances })
    const owned: number[] = []
    const handles: { handle: Int32Array; byte: number }[] = []
    steps.forEach(({ what, which }, at) => {
      const published = handles[which % Math.max(1, handles.length)]
      if (what === 'take') {
        const frame = pool.take()
        assert.equal(frame < 0, owned.length === 6)
        assert.ok(!owned.includes(frame))
        if (frame >= 0) owned.push(frame)
      } else if (what === 'giveUp' && published) pool.giveUp(published.handle, 0)
      else if (what === 'read' && published && pool.read(published.handle, 0, into, 0, 8)) {
        assert.equal(into[0], published.byte)
      } else if (what === 'publish' || what === 'free') {
        const [frame] = owned.splice(which % Math.max(1, owned.length), 1)
        if (frame === undefined) return
        pool.write(frame, Buffer.alloc(8, at & 255))
        const handle = new Int32Array(handleWords)
        if (what === 'free') pool.free(frame)
        else {
          pool.publish(frame, handle, 0)
          handles.push({ handle, byte: at & 255 })
        }
      }
      const { ownedCount, heldCount, unreferencedCount } = pool.figures()
      assert.equal(ownedCount, owned.length)
      assert.equal(heldCount + unreferencedCount, 6 - owned.length)
    })
    const rest = new Set<number>()
    for (let frame = pool.take(); frame >= 0; frame = pool.take()) rest.add(frame)
    assert.equal(rest.size + owned.length, 6)
  })
  void fc.assert(property, { numRuns: 200 })
})
