import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { QemuProcess } from '../qemu/process.ts'
import { counterPasses, GuestFixture, readCounter } from '../qemu/testing/guest-fixture.ts'
import type { Workload } from './capture.ts'
import { captureLive } from './capture-live.ts'

/** A workload that does something of the test's when it is frozen, and counts. */
function workload(onFreeze: () => unknown = () => {}): Workload & { frozen: number; thawed: number } {
  const counts = {
    frozen: 0,
    thawed: 0,
    freeze: async () => {
      counts.frozen += 1
      await onFreeze()
    },
    thaw: async () => {
      counts.thawed += 1
    },
  }
  return counts
}

async function running(fixture: GuestFixture): Promise<QemuProcess> {
  const qemu = await fixture.start()
  await qemu.qmp.execute('cont')
  await counterPasses(qemu, 10)
  return qemu
}

/** The guest goes on counting. */
async function assertRuns(qemu: QemuProcess): Promise<void> {
  assert.equal(await qemu.runState(), 'running')
  await counterPasses(qemu, (await readCounter(qemu)) + 10)
}

const common = (fixture: GuestFixture) => ({
  memoryBytes: fixture.machine.memoryBytes,
  parent: 'goes-on' as const,
  diskLevels: [],
})

test('a guest is captured again and again, and runs on each time', async () => {
  await using fixture = new GuestFixture()
  const qemu = await running(fixture)
  for (let round = 0; round < 3; round += 1) {
    const guest = workload()
    const capture = await captureLive({ qemu, workload: guest, ...common(fixture) })
    assert.deepEqual([guest.frozen, guest.thawed], [1, 1])
    assert.ok(capture.deviceState.blob.length > 10_000)
    assert.ok(capture.delta.bytes.length > 0)
    const { freezeMs, pauseMs, pauseMemoryMs, pauseDiskMs, captureMs } = capture.timings
    assert.ok(Math.abs(pauseMs - pauseMemoryMs - pauseDiskMs) < 1e-6, 'the parts are the whole')
    assert.ok(captureMs <= pauseMs && pauseMs <= freezeMs)
    await assertRuns(qemu)
  }
  assert.equal(existsSync(join(qemu.dir, 'device.state')), false)
})

test('a capture that is cancelled while the guest stands lets it run on', async () => {
  await using fixture = new GuestFixture()
  const qemu = await running(fixture)
  const cancel = new AbortController()
  const guest = workload(() => cancel.abort(new Error('enough')))
  await assert.rejects(captureLive({ qemu, workload: guest, ...common(fixture), signal: cancel.signal }), {
    message: 'enough',
  })
  assert.equal(guest.thawed, 1)
  await assertRuns(qemu)
  assert.equal(existsSync(join(qemu.dir, 'device.state')), false)
})

test('disks that cannot be frozen are an error of their own, and the guest runs on', async () => {
  await using fixture = new GuestFixture()
  const qemu = await running(fixture)
  const guest = workload()
  await assert.rejects(captureLive({ qemu, workload: guest, ...common(fixture), diskLevels: [1] }), {
    code: 'QMP_FAILED',
    message: /transaction/,
  })
  assert.equal(guest.thawed, 1)
  await assertRuns(qemu)
})

test('a freeze that the guest refuses leaves it as it was', async () => {
  await using fixture = new GuestFixture()
  const qemu = await running(fixture)
  const guest = workload(() => Promise.reject(new Error('no')))
  await assert.rejects(captureLive({ qemu, workload: guest, ...common(fixture) }), { message: 'no' })
  assert.equal(guest.thawed, 1)
  await assertRuns(qemu)
})

test('a QEMU that dies meanwhile is an error, not a wait', async () => {
  await using fixture = new GuestFixture()
  const qemu = await running(fixture)
  const guest = workload(() => qemu.kill())
  await assert.rejects(captureLive({ qemu, workload: guest, ...common(fixture) }), { code: 'QMP_FAILED' })
  assert.equal(guest.thawed, 1)
})
