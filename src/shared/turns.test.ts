import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as breathe } from 'node:timers/promises'
import { Turns } from './turns.ts'

test('never more than allowed have a turn, and all get one, in order', async () => {
  const turns = new Turns(3)
  let now = 0
  let most = 0
  const order: number[] = []
  await Promise.all(
    Array.from({ length: 20 }, async (_, index) => {
      using _turn = await turns.take()
      order.push(index)
      now += 1
      most = Math.max(most, now)
      await breathe()
      now -= 1
    }),
  )
  assert.equal(most, 3)
  assert.deepEqual(
    order,
    [...order].sort((one, other) => one - other),
  )
  assert.equal(order.length, 20)
})

test('who does not want to wait any more leaves without a turn, and takes none from the others', async () => {
  const turns = new Turns(1)
  const first = await turns.take()
  const giveUp = new AbortController()
  const leaving = turns.take(giveUp.signal)
  const staying = turns.take(new AbortController().signal)
  giveUp.abort(new Error('enough'))
  await assert.rejects(leaving, { message: 'enough' })
  await assert.rejects(turns.take(giveUp.signal), { message: 'enough' })
  first[Symbol.dispose]()
  first[Symbol.dispose]()
  const second = await staying
  let isFree = false
  const third = turns.take().then((turn) => {
    isFree = true
    return turn
  })
  await breathe()
  assert.equal(isFree, false, 'a turn that is ended twice is ended once')
  second[Symbol.dispose]()
  ;(await third)[Symbol.dispose]()
})
