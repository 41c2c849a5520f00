import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { pageBytes } from '../../memory/base.ts'
import { isZeroPage } from '../../memory/zero-pages.ts'
import { untilRestored } from '../../qemu/postcopy/destination.ts'
import { counterPasses } from '../../qemu/testing/guest-fixture.ts'
import { withoutUserfaultfd as skip } from '../../qemu/testing/userfaultfd.ts'
import { writeWorkingSetFile } from '../file/working-set.ts'
import { policyNames } from './protocol.ts'
import { differences, freeFromPage, outcome, readGuest, ServedGuests } from './testing/served-guest.ts'

test('every policy gives a guest the memory that was stored, byte for byte', { skip }, async () => {
  await using guests = new ServedGuests()
  const stored = await guests.checkpoint()
  const client = await guests.server()
  const workingSetPath = join(guests.dataDir, 'set')
  for (const policy of policyNames) {
    const qemu = await guests.destination()
    const request = guests.request(stored, qemu, { policy, workingSetPath })
    const over = outcome(client, request.restoreId)
    // Until then what is not there reads as zeros, or is waited for by the thread that would load it.
    const restored = untilRestored(qemu)
    await Promise.all([client.serve(request), restored])
    // Asked for while the rest is on its way.
    for (const page of [9000, 16000, 9001, 12345, 9002, 15000]) {
      const found = await readGuest(qemu, page * pageBytes, pageBytes)
      assert.ok(found.equals(stored.memory.subarray(page * pageBytes, (page + 1) * pageBytes)))
    }
    const { notice, stats } = await over
    assert.equal(notice, 'completed', JSON.stringify(stats))
    assert.equal(stats.missingPages, 0)
    assert.equal(stats.sentPages, stats.neededPages)
    assert.deepEqual(await differences(qemu, stored.memory), [], policy)
    await qemu.qmp.execute('cont')
    await counterPasses(qemu, stored.template.counter + 10)
    await qemu.kill()
    await client.drop(request.restoreId)
  }
})

test('what was prepared is pushed once, without being read again', { skip }, async () => {
  await using guests = new ServedGuests()
  const stored = await guests.checkpoint()
  const client = await guests.server()
  const workingSetPath = join(guests.dataDir, 'set')
  const pages = Uint32Array.from({ length: 300 }, (_, index) => freeFromPage + 7 * index)
  const isContent = (page: number) => !isZeroPage(stored.memory, page * pageBytes)
  const contentCount = pages.filter(isContent).length
  await writeWorkingSetFile(workingSetPath, stored.written.digest, [{ recordedAt: new Date(), pages }])
  const qemu = await guests.destination()
  const request = guests.request(stored, qemu, { policy: 'recorded', fill: 'none', workingSetPath })
  await client.prepare(request)
  await client.prepare(request)
  const pushed = new Promise<number>((resolve) => {
    client.onNotice(({ stats }) => {
      if (stats.prefetchedPages + stats.prefetchSampledPages === contentCount) resolve(stats.blocksRead)
    })
  })
  const { workingSetPages } = await client.serve(request)
  assert.equal(workingSetPages, pages.length)
  assert.equal(await pushed, 0)
  const over = outcome(client, request.restoreId)
  await client.hurry(request.restoreId)
  assert.equal((await over).notice, 'completed')
  assert.deepEqual(await differences(qemu, stored.memory), [])
})
