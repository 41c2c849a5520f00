import assert from 'node:assert/strict'
import { readdirSync, readlinkSync } from 'node:fs'
import { test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { BackgroundSnapshot, disableBackground, enableBackground } from './background-snapshot.ts'
import { pauseGuest, resumeGuest } from './incoming.ts'
import { StreamDecoder } from './migration-stream/decode.ts'
import type { QemuProcess } from './process.ts'
import { counting } from './testing/counting-firmware.ts'
import { counterPasses, GuestFixture, readCounter } from './testing/guest-fixture.ts'
import { withoutUserfaultfd as skip } from './testing/userfaultfd.ts'

const streamsOf = ({ identity }: QemuProcess) =>
  readdirSync(`/proc/${identity.pid}/fd`).filter((fd) =>
    readlinkSync(`/proc/${identity.pid}/fd/${fd}`).includes('ramet-stream'),
  ).length

/** QEMU lets go of a stream a moment after it has said that all is over, and does not say when: this looks. */
async function streamsGone(qemu: QemuProcess): Promise<void> {
  const giveUpAt = performance.now() + 20_000
  while (streamsOf(qemu) > 0) {
    if (performance.now() > giveUpAt) throw new Error('QEMU does not let go of the stream')
    await delay(5)
  }
}

async function isEnabled(qemu: QemuProcess): Promise<boolean | undefined> {
  const all = await qemu.qmp.execute<{ capability: string; state: boolean }[]>('query-migrate-capabilities')
  return all.find(({ capability }) => capability === 'background-snapshot')?.state
}

test('what is read is of the moment of the pause, though the guest writes on; and so again', { skip }, async () => {
  await using fixture = new GuestFixture()
  const guest = await fixture.start()
  await resumeGuest(guest)
  await counterPasses(guest, 10)
  for (let round = 0; round < 2; round += 1) {
    assert.equal(await enableBackground(guest), undefined)
    const words = new Map<number, number>()
    const decoder = new StreamDecoder({
      page: (block, offsetBytes, data) => void (block === 'mem' && words.set(offsetBytes, data?.readUInt32LE(0) ?? 0)),
    })
    {
      await using snapshot = await BackgroundSnapshot.prepare(guest, { reserveBytes: 1024 * 1024 })
      assert.equal(streamsOf(guest), 1)
      await pauseGuest(guest)
      const counter = await readCounter(guest)
      await snapshot.begin()
      assert.equal(await guest.runState(), 'running')
      await counterPasses(guest, counter + 10)
      await snapshot.read((chunk) => decoder.push(chunk))
      assert.equal(words.get(counting.counterAddress), counter)
    }
    const { blocks, deviceBlob } = decoder.finish()
    assert.equal(words.size, fixture.machine.memoryBytes / 4096, 'every page came')
    assert.equal(blocks.find((block) => block.name === 'mem')?.usedBytes, fixture.machine.memoryBytes)
    assert.ok(deviceBlob.length > 10_000)
    await streamsGone(guest)
    assert.equal(await isEnabled(guest), false)
  }
})

test('a reader that gives up does not hold up the guest, and one that never began leaves nothing', {
  skip,
}, async () => {
  await using fixture = new GuestFixture()
  const guest = await fixture.start()
  await resumeGuest(guest)
  await enableBackground(guest)
  {
    await using _snapshot = await BackgroundSnapshot.prepare(guest, { reserveBytes: 1024 * 1024 })
    assert.equal(streamsOf(guest), 1)
  }
  await streamsGone(guest)
  await enableBackground(guest)
  const giveUp = async () => {
    await using snapshot = await BackgroundSnapshot.prepare(guest, { reserveBytes: 0 })
    await pauseGuest(guest)
    await snapshot.begin()
    await snapshot.read(() => {
      throw new Error('enough')
    })
  }
  await assert.rejects(giveUp, /enough/)
  await streamsGone(guest)
  assert.equal(await isEnabled(guest), false)
  await counterPasses(guest, (await readCounter(guest)) + 10)
})

test('a QEMU that is lent nothing says that it cannot', { skip: skip || process.geteuid?.() !== 0 }, async () => {
  await using fixture = new GuestFixture()
  const guest = await fixture.start(fixture.seat(), { offerUserfaultfd: async () => ({ why: 'not lent' }) })
  const obstacle = await enableBackground(guest)
  // Where the sysctl lets everybody, it can all the same.
  if (obstacle === undefined) await disableBackground(guest)
  else assert.match(obstacle, /not supported/)
})
