import assert from 'node:assert/strict'
import { test } from 'node:test'
import { untilOver } from './until-over.ts'

async function* count(to: number, fail = false) {
  for (let item = 0; item < to; item += 1) yield item
  if (fail) throw new Error('no more')
}

function watched(to: number, options: { fail?: boolean; signal?: AbortSignal } = {}) {
  let overCount = 0
  const items = untilOver(
    count(to, options.fail),
    () => {
      overCount += 1
    },
    options.signal,
  )
  return { items, overs: () => overCount }
}

test('it is over when all has been read, and not before', async () => {
  const { items, overs } = watched(3)
  const seen: number[] = []
  for await (const item of items) {
    seen.push(item)
    assert.equal(overs(), 0)
  }
  assert.deepEqual([seen, overs()], [[0, 1, 2], 1])
})

test('it is over when it fails, and when nobody wants any more', async () => {
  const failing = watched(1, { fail: true })
  await assert.rejects(async () => {
    for await (const _ of failing.items) assert.equal(failing.overs(), 0)
  }, /no more/)
  assert.equal(failing.overs(), 1)
  const left = watched(3)
  for await (const _ of left.items) break
  assert.equal(left.overs(), 1)
})

test('one that is never begun is over when it is let go, or its signal aborts', async () => {
  const { items, overs } = watched(3)
  await items[Symbol.asyncIterator]().return?.()
  assert.equal(overs(), 1)
  const controller = new AbortController()
  const aborted = watched(3, { signal: controller.signal })
  assert.equal(aborted.overs(), 0)
  controller.abort()
  assert.equal(aborted.overs(), 1)
  assert.equal(watched(3, { signal: controller.signal }).overs(), 1)
})
