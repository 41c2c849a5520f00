import assert from 'node:assert/strict'
import { test } from 'node:test'
import { firstSeat, lastSeat } from '../fork/seat.ts'
import { isRametError } from '../shared/errors.ts'
import { Seats } from './seats.ts'

test('a seat is taken once, and free again afterwards', () => {
  const seats = new Seats([firstSeat + 1])
  assert.deepEqual([seats.take(), seats.take()], [firstSeat, firstSeat + 2])
  seats.free(firstSeat)
  assert.equal(seats.take(), firstSeat)
})

test('when all are taken there is no capacity', () => {
  const all = Array.from({ length: lastSeat - firstSeat + 1 }, (_, index) => firstSeat + index)
  assert.throws(
    () => new Seats(all).take(),
    (error) => isRametError(error, 'NO_CAPACITY'),
  )
})

test('a seat of another host is taken only where it is one of this host too', () => {
  const seats = new Seats([firstSeat])
  const claimed = [firstSeat, 0, 1, lastSeat + 1, 2 ** 24, lastSeat, lastSeat].map((seat) => seats.claim(seat))
  assert.deepEqual(claimed, [false, false, false, false, false, true, false])
})
