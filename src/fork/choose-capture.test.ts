import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { isRametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { type CaptureFacts, chooseCapture, planMemory, predictPauses } from './choose-capture.ts'

const MiB = 1024 ** 2
const GiB = 1024 ** 3
const small: CaptureFacts = { deltaBytes: 8 * MiB, guestBytes: GiB, wish: 'auto' }
const large: CaptureFacts = { deltaBytes: 900 * MiB, guestBytes: GiB, wish: 'auto' }

test('a small delta is copied, a large one goes in the background', () => {
  assert.equal(chooseCapture(small).way, 'copy')
  assert.equal(chooseCapture(large).way, 'background')
})

test('a wish is followed; what cannot be had is replaced, and why is said', () => {
  assert.equal(chooseCapture({ ...small, wish: 'background' }).way, 'background')
  assert.equal(chooseCapture({ ...large, wish: 'copy' }).way, 'copy')
  for (const wish of ['auto', 'background'] as const) {
    const choice = chooseCapture({ ...large, wish, obstacle: 'no device' })
    assert.equal(choice.way, 'copy')
    assert.match(choice.why, /no device/)
  }
})

test('a goal that one way reaches chooses it; one that none reaches is refused, with both predictions', () => {
  const { copyPauseMs, backgroundPauseMs } = predictPauses(large.deltaBytes, large.guestBytes)
  assert.ok(backgroundPauseMs < copyPauseMs)
  assert.equal(chooseCapture({ ...large, maxPauseMs: copyPauseMs }).way, 'copy')
  assert.equal(chooseCapture({ ...large, maxPauseMs: backgroundPauseMs }).way, 'background')
  const refused = { ...large, maxPauseMs: backgroundPauseMs - 1 }
  assert.throws(
    () => chooseCapture(refused),
    (error) => {
      assert.ok(isRametError(error, 'PAUSE_TOO_LONG'))
      assert.deepEqual(error.details, { maxPauseMs: backgroundPauseMs - 1, copyPauseMs, backgroundPauseMs })
      return true
    },
  )
  assert.throws(() => chooseCapture({ ...large, maxPauseMs: copyPauseMs - 1, obstacle: 'no device' }), /no device/)
  assert.throws(() => chooseCapture({ ...large, wish: 'copy', maxPauseMs: copyPauseMs - 1 }), /copy was asked for/)
})

test('whatever the sizes: what is chosen keeps to the goal, and without one nothing is refused', () => {
  const facts = fc.record({
    deltaBytes: fc.nat(4 * GiB),
    guestBytes: fc.nat(8 * GiB),
    wish: fc.constantFrom('auto', 'copy', 'background'),
    obstacle: fc.constantFrom(undefined, 'none here'),
    maxPauseMs: fc.option(fc.nat(2_000), { nil: undefined }),
  })
  const property = fc.property(facts, ({ obstacle, maxPauseMs, ...rest }) => {
    const given = { ...rest, ...(obstacle && { obstacle }), ...(maxPauseMs !== undefined && { maxPauseMs }) }
    try {
      const choice = chooseCapture(given)
      const pauseMs = choice.way === 'copy' ? choice.copyPauseMs : choice.backgroundPauseMs
      assert.ok(maxPauseMs === undefined || pauseMs <= maxPauseMs)
      assert.ok(choice.way === 'copy' || obstacle === undefined)
    } catch (error) {
      assert.ok(isRametError(error, 'PAUSE_TOO_LONG') && maxPauseMs !== undefined, String(error))
      const { copyPauseMs, backgroundPauseMs } = predictPauses(given.deltaBytes, given.guestBytes)
      if (given.wish === 'auto') assert.ok(copyPauseMs > maxPauseMs)
      if (given.wish === 'auto' && obstacle === undefined) assert.ok(backgroundPauseMs > maxPauseMs)
    }
  })
  fc.assert(property, { numRuns: 500 })
})

test('children load a small delta; a large one, many of one, or one over nothing is folded', () => {
  const facts = { count: 1, deltaBytes: 20 * MiB, guestBytes: GiB, baseBytes: 100 * MiB }
  assert.deepEqual(planMemory(facts), { memory: 'delta', deltaCostBytes: 20 * MiB, foldedCostBytes: 120 * MiB })
  assert.equal(planMemory({ ...facts, count: 4 }).memory, 'folded')
  assert.equal(planMemory({ ...facts, deltaBytes: limits.forkDeltaBytes + 4096 }).memory, 'folded')
  assert.equal(planMemory({ ...facts, baseBytes: undefined }).memory, 'folded')
  // Twelve of 5 MiB are below the limit, but more than all there is.
  assert.equal(planMemory({ ...facts, count: 12, deltaBytes: 5 * MiB, baseBytes: 20 * MiB }).memory, 'folded')
  assert.equal(planMemory({ ...facts, guestBytes: 64 * MiB }).foldedCostBytes, 64 * MiB)
})
