import assert from 'node:assert/strict'
import { readSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { findQemu } from '../../host/qemu-binary.ts'
import { memfdNameOf, type OpenBase, pageBytes } from '../../memory/base.ts'
import { copyDelta, type Delta } from '../../memory/delta.ts'
import { findGuestRam } from '../../memory/guest-ram.ts'
import { listPrivateRuns } from '../../memory/private-runs.ts'
import { openMemory, readFully } from '../../memory/vm-memory.ts'
import { readCpuFeatures } from '../../qemu/cpu-features.ts'
import { saveDeviceState } from '../../qemu/device-state.ts'
import { armIncoming, loadIncoming, pauseGuest, resumeGuest } from '../../qemu/incoming.ts'
import { encodeStream } from '../../qemu/migration-stream/encode.ts'
import type { QemuProcess } from '../../qemu/process.ts'
import { readRomPages } from '../../qemu/rom-pages.ts'
import { counting } from '../../qemu/testing/counting-firmware.ts'
import { counterPasses, GuestFixture, readCounter, type TestTemplate } from '../../qemu/testing/guest-fixture.ts'
import { FileSource } from '../file/range-source.ts'
import { Checkpoint } from '../file/read.ts'
import { withDirectory } from '../file/testing/sample.ts'
import { type CapturedVm, saveCheckpoint } from './save.ts'

// Guests of a real QEMU. They are no Linux: for those see test/save-checkpoint.test.ts.

/** A guest that stands, captured as the memory room does it, and all of its memory as QEMU has it. */
async function capture(
  fixture: GuestFixture,
  qemu: QemuProcess,
  base?: OpenBase,
): Promise<{ vm: CapturedVm; memory: Buffer; delta: Delta }> {
  const { machine } = fixture
  const found = await findQemu()
  assert.ok(found !== undefined)
  const deviceState = await saveDeviceState(qemu)
  const romPages = await readRomPages(qemu, deviceState.blocks)
  const baseId = base === undefined ? {} : { baseId: base.id }
  const ram = findGuestRam({ pid: qemu.identity.pid, sizeBytes: machine.memoryBytes, ...baseId })
  const delta = await copyDelta(ram, await listPrivateRuns(ram))
  // The block of RAM itself: what the guest sees is firmware in some places.
  const memory = Buffer.alloc(machine.memoryBytes)
  using file = openMemory(ram.pid)
  readFully(file.fd, memory, 0, memory.length, ram.start)
  const vm: CapturedVm = {
    machine,
    capturedAt: new Date(),
    deviceState,
    romPages,
    memory: { kind: 'delta', delta, base },
    qemuVersion: found.version,
    cpuFeatures: await readCpuFeatures(qemu.qmp, machine),
  }
  return { vm, memory, delta }
}

/** Each page of a file is that of the memory; those that are not in it are zeros, or the base's. */
async function assertHolds(checkpoint: Checkpoint, memory: Buffer, base?: Buffer): Promise<void> {
  const { pages } = checkpoint
  const zeros = Buffer.alloc(pageBytes)
  const pageOf = (bytes: Buffer, page: number) => bytes.subarray(page * pageBytes, (page + 1) * pageBytes)
  for (let page = 0; page < pages.pageCount; page += 1) {
    const kind = pages.kindOf(page)
    if (kind === 'stored') continue
    const expected = kind === 'base' && base !== undefined ? pageOf(base, page) : zeros
    assert.ok(pageOf(memory, page).equals(expected), `page ${page} is said to be ${kind}`)
  }
  for (let block = 0; block < pages.blockCount; block += 1) {
    const bytes = await checkpoint.readBlock(block)
    for (const [slot, page] of pages.pagesOf(block).entries())
      assert.ok(pageOf(bytes, slot).equals(pageOf(memory, page)), `page ${page}`)
  }
}

async function savedAs(path: string, vm: CapturedVm, memory: Buffer, base?: Buffer) {
  const saved = await saveCheckpoint(path, vm, { workerCount: 1 })
  await using source = await FileSource.open(path)
  const checkpoint = await Checkpoint.open(source, { digest: saved.digest })
  await assertHolds(checkpoint, memory, base)
  assert.deepEqual(await checkpoint.readRoms(), vm.romPages)
  assert.ok((await checkpoint.readDeviceState()).equals(vm.deviceState.blob))
  return { ...saved, manifest: checkpoint.manifest }
}

/** A guest over the memory of another, which it has changed for a while. */
async function startOver(fixture: GuestFixture, template: TestTemplate): Promise<QemuProcess> {
  const child = await fixture.startChild(template)
  await armIncoming(child)
  const { machine } = fixture.machine
  const { devices, roms } = template
  await loadIncoming(child, encodeStream({ machine, blocks: devices.blocks, pages: roms, deviceBlob: devices.blob }))
  await resumeGuest(child)
  await counterPasses(child, template.counter + 50)
  await pauseGuest(child)
  return child
}

test('a guest on memory of its own, and one over a base: each page of theirs is in the file', async () => {
  await using fixture = new GuestFixture()
  await withDirectory(async (directory) => {
    const qemu = await fixture.start()
    await resumeGuest(qemu)
    await counterPasses(qemu, 300)
    await pauseGuest(qemu)
    const { vm, memory } = await capture(fixture, qemu)
    const alone = await savedAs(join(directory, 'alone'), vm, memory)
    assert.equal(alone.order.kind, 'physical', 'no Linux')
    assert.deepEqual(alone.manifest.machine, fixture.machine)
    assert.ok(alone.manifest.cpuFeatures.includes('lm'))
    assert.ok(alone.counts.stored > 300 && alone.counts.zero > 10_000)

    const template = await fixture.capture(qemu)
    await qemu.quit()
    const base = { id: 'test-base', fd: template.memoryFd, sizeBytes: fixture.machine.memoryBytes }
    assert.equal(memfdNameOf(base.id), 'ramet-test-base', 'as the fixture calls it')
    const child = await startOver(fixture, template)
    const over = await capture(fixture, child, base)
    assert.ok(over.memory.readUInt32LE(counting.counterAddress) === (await readCounter(child)))
    const copied = await savedAs(join(directory, 'copied'), over.vm, over.memory)
    assert.equal(copied.counts.base, 0)
    assert.ok(copied.counts.stored > alone.counts.stored)
    const ofBase = Buffer.alloc(base.sizeBytes)
    readSync(base.fd, ofBase, 0, ofBase.length, 0)
    const vmOfBase = { ...over.vm, reference: { id: base.id, digest: 'd'.repeat(64) } }
    const referring = await savedAs(join(directory, 'referring'), vmOfBase, over.memory, ofBase)
    assert.ok(referring.counts.base > 300, 'what the parent wrote')
    assert.ok(referring.counts.stored >= 50 && referring.counts.stored <= over.delta.bytes.length / pageBytes)
    assert.equal(referring.counts.base + referring.counts.stored, copied.counts.stored)
  })
})
