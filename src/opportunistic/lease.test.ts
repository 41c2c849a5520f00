import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Leases } from './lease.ts'

const MiB = 1024 * 1024

test('a claim of what is still there gets it, once', () => {
  const leases = new Leases<string>()
  const lease = leases.grant('child', MiB)
  assert.ok(leases.isValid(lease))
  assert.equal(leases.claim(lease), 'child')
  assert.ok(!leases.isValid(lease))
  assert.equal(leases.claim(lease), undefined)
  assert.deepEqual(leases.figures(), { heldCount: 0, heldBytes: 0, claims: 2, misses: 1, reclaimed: 0 })
})

test('the host reclaims what was leased first, as much as it needs, and asks nobody', () => {
  const leases = new Leases<string>()
  const given = ['a', 'b', 'c'].map((child) => leases.grant(child, 10 * MiB))
  assert.equal(leases.figures().heldBytes, 30 * MiB)
  assert.deepEqual(leases.reclaim(11 * MiB), ['a', 'b'])
  assert.deepEqual(
    given.map((lease) => leases.claim(lease)),
    [undefined, undefined, 'c'],
  )
  assert.deepEqual(leases.reclaim(MiB), [])
})

test('a lease on a seat that holds another by now is a miss, and the other stays', () => {
  const leases = new Leases<string>()
  const early = leases.grant('early', MiB)
  assert.deepEqual(leases.reclaim(1), ['early'])
  const late = leases.grant('late', MiB)
  assert.equal(late.seat, early.seat)
  // The fallback: what the holder would have done without the child.
  assert.equal(leases.claim(early) ?? 'forked anew', 'forked anew')
  assert.equal(leases.claim(late), 'late')
})

test('generations wrap into others, not into those of leases just given', () => {
  const leases = new Leases<number>(2n ** 64n - 2n)
  const given = [1, 2, 3, 4].map((child) => {
    const lease = leases.grant(child, MiB)
    leases.reclaim(1)
    return lease
  })
  assert.deepEqual(
    given.map(({ generation }) => generation),
    [2n ** 64n - 2n, 2n ** 64n - 1n, 0n, 1n],
  )
  leases.grant(5, MiB)
  for (const lease of given) assert.equal(leases.claim(lease), undefined)
})

test('a lease that was never given is a miss', () => {
  assert.equal(new Leases<string>().claim({ seat: 3, generation: 0n }), undefined)
})
