import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { isRametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { Database } from './database.ts'
import { Reserve, type Room } from './reserve.ts'
import { SqliteStore } from './sqlite-store.ts'

function withDirectory<T>(work: (directory: string) => T): T {
  const directory = mkdtempSync(join(tmpdir(), 'ramet-reserve-'))
  try {
    return work(directory)
  } finally {
    rmSync(directory, { recursive: true })
  }
}

test('a reserve takes room, gives it up piece by piece until it is gone, and takes it back', () =>
  withDirectory((directory) => {
    const pieceBytes = limits.storeReservePieceBytes
    const reserve = new Reserve(join(directory, 'reserve'), 2 * pieceBytes)
    const sizes = () => [
      statSync(reserve.path).size,
      statSync(reserve.path).blocks * 512 >= statSync(reserve.path).size,
    ]
    assert.deepEqual(sizes(), [2 * pieceBytes, true])
    assert.equal(reserve.giveUp(), true)
    assert.deepEqual(sizes(), [pieceBytes, true])
    assert.equal(reserve.giveUp(), true)
    assert.equal(reserve.giveUp(), false)
    reserve.refill()
    assert.deepEqual(sizes(), [2 * pieceBytes, true])
  }))

/** SQLite calls its file full at a number of pages as it does when the disk is. */
const fullAt = (database: Database, pages: number) => database.statement(`PRAGMA max_page_count = ${pages}`).get()

test('a write that meets a full disk is tried again with what the reserve gives, as long as it gives', async () => {
  let left = 2
  let refills = 0
  const room: Room = {
    giveUp: () => {
      if (left === 0) return false
      left -= 1
      fullAt(database, left === 0 ? 40 : 1)
      return true
    },
    refill: () => {
      refills += 1
    },
  }
  const database = new Database(':memory:', { room })
  const store = new SqliteStore(database)
  const refillsAtOpen = refills
  fullAt(database, 1)
  const large = 'x'.repeat(50_000)
  await store.create('vms', 'a', large)
  assert.equal(left, 0)
  assert.equal(refills, refillsAtOpen + 1)
  assert.deepEqual(
    (await store.list('vms')).map(({ key }) => key),
    ['a'],
  )
  await assert.rejects(store.create('vms', 'b', large.repeat(10)), (error) => isRametError(error, 'NO_SPACE'))
  assert.deepEqual(
    (await store.list('vms')).map(({ key }) => key),
    ['a'],
  )
  await store.close()
})
