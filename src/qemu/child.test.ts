import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, existsSync, readdirSync, readFileSync, readSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { isRunning } from '../host/process-identity.ts'
import { saveDeviceState } from './device-state.ts'
import { armIncoming, loadIncoming, pauseGuest, resumeGuest } from './incoming.ts'
import { encodeStream } from './migration-stream/encode.ts'
import { adoptQemu, type QemuProcess } from './process.ts'
import { counting } from './testing/counting-firmware.ts'
import {
  counterPasses,
  GuestFixture,
  readConsole,
  readCounter,
  readWord,
  type TestTemplate,
} from './testing/guest-fixture.ts'

const streamOf = (fixture: GuestFixture, template: TestTemplate, pages = template.roms) =>
  encodeStream({
    machine: fixture.machine.machine,
    blocks: template.devices.blocks,
    pages,
    deviceBlob: template.devices.blob,
  })

/** An empty delta over an empty base; the delta names its base relative to itself. */
function makeDisk(dir: string): { path: string } {
  const create = (...args: string[]) => execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', ...args], { cwd: dir })
  create('base.qcow2', '8M')
  create('-b', 'base.qcow2', '-F', 'qcow2', 'delta.qcow2')
  chmodSync(join(dir, 'base.qcow2'), 0o444)
  chmodSync(join(dir, 'delta.qcow2'), 0o666)
  return { path: join(dir, 'delta.qcow2') }
}

function hashOf(fd: number, sizeBytes: number): string {
  const bytes = Buffer.alloc(sizeBytes)
  readSync(fd, bytes, 0, sizeBytes, 0)
  return createHash('sha256').update(bytes).digest('hex')
}

/** The guest left a trail of counts in memory: each of the last ones is where it belongs. */
async function assertTrail(qemu: QemuProcess, counter: number): Promise<void> {
  for (const count of [counter - 1, counter - 40]) {
    const page = count % counting.trailPages
    assert.equal(await readWord(qemu, counting.trailAddress + page * 4096), count)
  }
}

for (const cpuCount of [1, 2]) {
  test(`two children go on from the parent's state and diverge, ${cpuCount} cpus`, async () => {
    await using fixture = new GuestFixture(cpuCount)
    const parent = await fixture.start()
    assert.equal(await parent.runState(), 'prelaunch')
    await parent.qmp.execute('cont')
    await counterPasses(parent, 50)
    if (cpuCount > 1) await counterPasses(parent, 50, counting.secondCounterAddress)
    await pauseGuest(parent)
    const template = await fixture.capture(parent)
    await parent.quit()
    const before = hashOf(template.memoryFd, fixture.machine.memoryBytes)

    const counters: number[] = []
    for (const goal of [20, 200]) {
      const child = await fixture.startChild(template)
      await armIncoming(child)
      assert.equal(await child.runState(), 'inmigrate')
      await loadIncoming(child, streamOf(fixture, template))
      assert.equal(await child.runState(), 'paused')
      assert.equal(await readCounter(child), template.counter)
      await resumeGuest(child)
      await counterPasses(child, template.counter + goal)
      if (cpuCount > 1) {
        const second = await readWord(child, counting.secondCounterAddress)
        await counterPasses(child, second, counting.secondCounterAddress)
      }
      await pauseGuest(child)
      const counter = await readCounter(child)
      counters.push(counter)
      await assertTrail(child, counter)
      const next = (template.counter + 2).toString(16).padStart(8, '0')
      assert.match(await readConsole(child), new RegExp(`^${next}$`, 'm'))
    }
    assert.notEqual(counters[0], counters[1])
    assert.equal(hashOf(template.memoryFd, fixture.machine.memoryBytes), before)
  })
}

test('pages in the stream override the base, zeros among them, and the firmware arrives', async () => {
  await using fixture = new GuestFixture()
  const parent = await fixture.start()
  await parent.qmp.execute('cont')
  await counterPasses(parent, 10)
  await pauseGuest(parent)
  const template = await fixture.capture(parent)
  const page = Buffer.alloc(4096)
  page.writeUInt32LE(0x1234, 0)
  const pages = [
    ...template.roms,
    { block: 'mem', offsetBytes: 0x8000, data: page },
    { block: 'mem', offsetBytes: counting.trailAddress + 2 * 4096, data: Buffer.alloc(2 * 4096) },
  ]
  const child = await fixture.startChild(template)
  await armIncoming(child)
  await loadIncoming(child, streamOf(fixture, template, pages))
  assert.equal(await readCounter(child), 0x1234)
  assert.equal(await readWord(child, counting.trailAddress + 4096), 1)
  assert.equal(await readWord(child, counting.trailAddress + 2 * 4096), 0)
  // A reset jumps into the firmware of the child, which only the stream can have brought.
  await child.qmp.execute('system_reset')
  await resumeGuest(child)
  await readConsole(child)
  await counterPasses(child, 0x1234 + 5)
})

test('disks and networks differ between a parent and its child, and the state loads all the same', async () => {
  await using fixture = new GuestFixture(1, { diskCount: 1 })
  const { path: parentDisk } = makeDisk(fixture.directory())
  const parent = await fixture.start(fixture.seat({ disks: [{ path: parentDisk }] }))
  await resumeGuest(parent)
  await counterPasses(parent, 5)
  await pauseGuest(parent)
  const template = await fixture.capture(parent)
  await parent.quit()

  const dir = fixture.directory()
  makeDisk(dir)
  const server = createServer().listen(join(dir, 'net0.sock'))
  await once(server, 'listening')
  chmodSync(join(dir, 'net0.sock'), 0o777)
  const connected = once(server, 'connection')
  const network = { kind: 'stream', socketPath: 'net0.sock' } as const
  const seat = fixture.seat({
    ...{ disks: [{ path: 'delta.qcow2' }], nics: [{ mac: '52:54:00:00:00:02', network }] },
    ...{ memory: { kind: 'base' }, incoming: true },
  })
  const child = await fixture.start(seat, { dir, memoryFd: template.memoryFd })
  const [cable] = (await connected) as [Socket]
  await armIncoming(child)
  await loadIncoming(child, streamOf(fixture, template))
  await resumeGuest(child)
  await counterPasses(child, template.counter)
  const nodes = await child.qmp.execute<{ 'node-name': string }[]>('query-named-block-nodes')
  assert.ok(nodes.some((node) => node['node-name'] === 'disk0'))
  cable.destroy()
  server.close()
})

test('devices are saved again and again, and leave nothing behind', async () => {
  await using fixture = new GuestFixture()
  const qemu = await fixture.start()
  await qemu.qmp.execute('cont')
  await assert.rejects(saveDeviceState(qemu), { code: 'ILLEGAL_STATE' })
  for (let round = 0; round < 3; round += 1) {
    await pauseGuest(qemu)
    const { blob, blocks } = await saveDeviceState(qemu)
    assert.ok(blob.length > 10_000)
    assert.ok(blocks.some((block) => block.name === 'mem' && block.usedBytes === fixture.machine.memoryBytes))
    await resumeGuest(qemu)
  }
  assert.equal(existsSync(join(qemu.dir, 'device.state')), false)
})

test('an armed QEMU that gets a broken stream ends, and its log says why', async () => {
  await using fixture = new GuestFixture()
  const parent = await fixture.start()
  const template = await fixture.capture(parent)
  const child = await fixture.startChild(template)
  await armIncoming(child)
  const [head] = streamOf(fixture, template)
  assert.ok(head)
  await assert.rejects(loadIncoming(child, [head.subarray(0, 30), Buffer.alloc(64, 0x55)]), (error: unknown) => {
    assert.ok(error instanceof Error && 'code' in error && 'details' in error)
    assert.equal(error.code, 'VMM_FAILED')
    assert.match(JSON.stringify(error.details), /load of migration failed|section/)
    return true
  })
  assert.deepEqual(await child.ended, { exitCode: 1 })
})

test('children that came and went leave no descriptor and no process', async () => {
  await using fixture = new GuestFixture()
  const parent = await fixture.start()
  const template = await fixture.capture(parent)
  await parent.quit()
  const openCount = () => readdirSync('/proc/self/fd').length
  const cycle = async () => {
    const child = await fixture.startChild(template)
    await armIncoming(child)
    await loadIncoming(child, streamOf(fixture, template))
    await resumeGuest(child)
    assert.equal(child.incoming?.destroyed, true)
    await child.quit()
    await child.qmp.closed
    return isRunning(child.identity)
  }
  assert.equal(await cycle(), false)
  const before = openCount()
  for (let round = 0; round < 4; round += 1) assert.equal(await cycle(), false)
  assert.equal(openCount(), before)
})

test('another daemon adopts a running QEMU and reads its state', async () => {
  await using fixture = new GuestFixture()
  const first = await fixture.start()
  await first.qmp.execute('cont')
  first.release()
  assert.equal(isRunning(first.identity), true)
  const second = await adoptQemu(first.identity, first.dir)
  assert.equal(await second.runState(), 'running')
  assert.deepEqual(await second.quit(), {})
  assert.equal(isRunning(first.identity), false)
  await assert.rejects(adoptQemu(first.identity, first.dir), { code: 'VMM_FAILED' })
})

test('QEMU runs without privileges and under the sandbox', async () => {
  await using fixture = new GuestFixture()
  const qemu = await fixture.start()
  const status = readFileSync(`/proc/${qemu.identity.pid}/status`, 'utf8')
  assert.match(status, /^Seccomp:\t2$/m)
  assert.match(status, /^CapEff:\t0+$/m)
  assert.doesNotMatch(status, /^Uid:\t0\t/m)
})
