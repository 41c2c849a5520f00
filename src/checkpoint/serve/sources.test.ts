import assert from 'node:assert/strict'
import { closeSync } from 'node:fs'
import { chmod, open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { BaseWriter, pageBytes } from '../../memory/base.ts'
import { contentDigest } from '../../memory/base-manifest.ts'
import { storeBase } from '../../memory/store.ts'
import { withoutUserfaultfd as skip } from '../../qemu/testing/userfaultfd.ts'
import { serveRanges } from '../file/testing/range-server.ts'
import { differences, freeFromPage, outcome, ServedGuests } from './testing/served-guest.ts'

test('a guest is restored from another host, and from a store that is slow', { skip }, async () => {
  await using guests = new ServedGuests()
  const stored = await guests.checkpoint()
  await using far = await serveRanges(await readFile(stored.path))
  const client = await guests.server()
  const sources = [
    { checkpoint: { url: far.url } },
    { checkpoint: { url: far.url }, storeDelayMs: 5, policy: 'none' },
  ] as const
  for (const changes of sources) {
    const qemu = await guests.destination()
    const request = guests.request(stored, qemu, changes)
    const over = outcome(client, request.restoreId)
    await client.serve(request)
    assert.equal((await over).notice, 'completed')
    assert.deepEqual(await differences(qemu, stored.memory), [])
    await qemu.kill()
  }
  const qemu = await guests.destination()
  const other = guests.request(stored, qemu, { checkpoint: { url: far.url }, digest: 'b'.repeat(64) })
  await assert.rejects(client.serve(other), { code: 'CHECKPOINT_DAMAGED' })
})

/** Every other page of the end of memory is the base's. */
async function overBase(guests: ServedGuests) {
  const path = join(guests.dataDir, 'base')
  let digest = ''
  const isBase = (page: number) => page >= freeFromPage && page % 3 !== 0
  const { memoryBytes } = guests.fixture.machine
  const content = Buffer.alloc(memoryBytes)
  for (let page = freeFromPage; page < memoryBytes / pageBytes; page += 1)
    content.fill(`page ${page} of the base `, page * pageBytes, (page + 1) * pageBytes)
  using writer = await BaseWriter.create({ id: 'base-test', sizeBytes: memoryBytes })
  writer.write(content, 0)
  const base = writer.seal()
  digest = contentDigest(await storeBase(base, path))
  closeSync(base.fd)
  const stored = await guests.checkpoint({
    alter: (memory) => {
      content.copy(memory, freeFromPage * pageBytes, freeFromPage * pageBytes)
      for (let page = freeFromPage; page < memoryBytes / pageBytes; page += 1)
        if (!isBase(page)) memory.fill(`page ${page} of the guest `, page * pageBytes, (page + 1) * pageBytes)
    },
    isBase,
    parts: { base: { id: 'base-test', digest } },
  })
  return { stored, base: { path, id: 'base-test' } }
}

test('pages of a base are read from there, and not when they are damaged', { skip }, async () => {
  await using guests = new ServedGuests()
  const { stored, base } = await overBase(guests)
  assert.ok(stored.written.counts.base > 1000)
  const client = await guests.server()
  const readBytes: number[] = []
  for (const policy of ['none', 'adaptive'] as const) {
    const qemu = await guests.destination()
    const request = guests.request(stored, qemu, { base, policy })
    const over = outcome(client, request.restoreId)
    await client.serve(request)
    const { notice, stats } = await over
    assert.equal(notice, 'completed')
    assert.ok(stats.basePagesRead >= stored.written.counts.base)
    assert.deepEqual(await differences(qemu, stored.memory), [])
    await qemu.kill()
    readBytes.push(stats.baseBytesRead)
  }
  const [first = 0, second] = readBytes
  assert.ok(first >= 0.9 * (guests.fixture.machine.memoryBytes - freeFromPage * pageBytes), `${first}`)
  assert.equal(second, 0, 'what was checked once is in memory')
  // From here on it has to be read again.
  await client.giveBack(2 ** 40)
  const qemu = await guests.destination()
  await assert.rejects(client.serve(guests.request(stored, qemu)), { code: 'INVALID_ARGUMENT' })
  await chmod(base.path, 0o600)
  await using handle = await open(base.path, 'r+')
  await handle.write(Buffer.from('another'), 0, 7, freeFromPage * pageBytes + 100)
  const request = guests.request(stored, qemu, { base })
  const failed = outcome(client, request.restoreId)
  await client.serve(request)
  const { notice, error } = await failed
  assert.deepEqual([notice, error?.code], ['failed', 'BASE_DAMAGED'])
  const completed = (await client.list()).filter(({ stats }) => stats.missingPages === 0)
  assert.equal(completed.length, 2)
})
