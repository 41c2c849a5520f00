import assert from 'node:assert/strict'
import { open } from 'node:fs/promises'
import { test } from 'node:test'
import { pageBytes } from '../../memory/base.ts'
import { withoutUserfaultfd as skip } from '../../qemu/testing/userfaultfd.ts'
import { FileSource } from '../file/range-source.ts'
import { Checkpoint } from '../file/read.ts'
import {
  type Checkpointed,
  differences,
  freeFromPage,
  outcome,
  readGuest,
  ServedGuests,
} from './testing/served-guest.ts'

/** Alters one byte of a block in the middle of what the firmware does not use. */
async function damageBlock({ path, memory }: Checkpointed): Promise<number[]> {
  await using source = await FileSource.open(path)
  const { pages, ...rest } = await Checkpoint.open(source).then((checkpoint) => ({
    pages: checkpoint.pages,
    rangeOf: (block: number) => checkpoint.rangeOf(block),
  }))
  const place = pages.placeOf(memory.length / pageBytes - 500) ?? pages.placeOf(memory.length / pageBytes - 501)
  assert.ok(place !== undefined)
  const { offsetBytes, storedBytes } = rest.rangeOf(place.block)
  await using handle = await open(path, 'r+')
  const at = offsetBytes + Math.floor(storedBytes / 2)
  const { buffer } = await handle.read(Buffer.alloc(1), 0, 1, at)
  await handle.write(Buffer.from([(buffer[0] ?? 0) ^ 0x10]), 0, 1, at)
  return [...pages.pagesOf(place.block)]
}

test('a damaged block never reaches a guest, and stops no other', { skip }, async () => {
  await using guests = new ServedGuests()
  const [intact, damaged] = [await guests.checkpoint(), await guests.checkpoint({ write: { mode: 0o600 } })]
  const lostPages = await damageBlock(damaged)
  const client = await guests.server()
  const qemu = await guests.destination()
  const request = guests.request(damaged, qemu)
  const failed = outcome(client, request.restoreId)
  await client.serve(request)
  const { notice, error, stats } = await failed
  assert.equal(notice, 'failed')
  assert.equal(error?.code, 'CHECKPOINT_DAMAGED')
  assert.equal(stats.state, 'failed')
  // Everything else is there, and can be asked for.
  const page = freeFromPage + 1
  const found = await readGuest(qemu, page * pageBytes, pageBytes)
  assert.ok(found.equals(damaged.memory.subarray(page * pageBytes, (page + 1) * pageBytes)))
  let isAnswered = false
  const answered = readGuest(qemu, (lostPages[0] ?? 0) * pageBytes, pageBytes).then(
    () => {
      isAnswered = true
    },
    () => {},
  )
  const other = await guests.destination()
  const second = guests.request(intact, other)
  const completed = outcome(client, second.restoreId)
  await client.serve(second)
  assert.equal((await completed).notice, 'completed')
  assert.deepEqual(await differences(other, intact.memory), [])
  const [first] = await client.list()
  assert.equal(first?.stats.state, 'failed')
  assert.equal(first?.stats.missingPages, lostPages.length, 'all pages but those of that block')
  assert.equal(isAnswered, false, 'who touches it stands still')
  await qemu.kill()
  await answered
})
