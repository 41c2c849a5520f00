import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { afterEach, test } from 'node:test'
import { freezeDisks } from '../../fork/disk-point.ts'
import { canReflink } from '../../host/probe-storage.ts'
import { isRametError } from '../../shared/errors.ts'
import { armFaults } from '../../shared/fault.ts'
import type { VmRecord } from '../records.ts'
import { checkDisk, diskVm, family, freeze, pathOf, qemuOf, standOn, writeDisk } from '../testing/lent-disks.ts'
import { TestEngine } from '../testing/test-engine.ts'
import { type DisksWanted, prepareLiveDisks } from './live-disks.ts'

afterEach(() => armFaults(''))

/** Larger than what a fork copies. */
const largeMiB = 33

const forkOf = (copies: number): DisksWanted => ({ copies, mayLend: true, what: `a fork into ${copies}` })

async function frozen(engine: TestEngine, vm: VmRecord, wanted = forkOf(1)) {
  const live = await prepareLiveDisks(engine.parts, engine.context.vms.find(vm.id), qemuOf(engine, vm), wanted)
  await freezeDisks(qemuOf(engine, vm), live.levels)
  return live
}

/** The vm writes to its own level 0, which holds its data, and nothing is lent. */
async function assertMerged(engine: TestEngine, vm: VmRecord, value: number): Promise<void> {
  await engine.parts.settling.idle()
  assert.deepEqual(engine.context.deltas.list(), [])
  assert.equal(engine.context.vms.find(vm.id).disks[0]?.lent, undefined)
  for (const level of [1, 2]) assert.equal(existsSync(pathOf(engine, vm, level)), false, `level ${level}`)
  await checkDisk(pathOf(engine, vm), value)
}

test('a small delta stands still to be copied; what is written meanwhile is merged into it', async () => {
  await using engine = await TestEngine.open()
  const vm = await diskVm(engine, 'parent', 1)
  const live = await frozen(engine, vm)
  const [disk] = await live.seeds()
  assert(disk?.seed.kind === 'copy')
  assert.deepEqual([live.levels, disk.seed.from, disk.frozen], [[0], pathOf(engine, vm), []])
  await writeDisk(pathOf(engine, vm, 1), 2)
  await checkDisk(pathOf(engine, vm), 1)
  await live.release()
  await assertMerged(engine, vm, 2)
})

test('a large one is lent, and comes back when no child was made', async () => {
  await using engine = await TestEngine.open()
  const lends = !(await canReflink(engine.context.paths.vmsDir))
  const vm = await diskVm(engine, 'parent', 1, largeMiB)
  const live = await frozen(engine, vm)
  const [disk] = await live.seeds()
  assert.equal(disk?.seed.kind, lends ? 'empty' : 'copy')
  assert.equal(disk?.frozen.length, lends ? 1 : 0)
  assert.equal(engine.context.deltas.list().length, lends ? 1 : 0)
  assert.deepEqual(engine.parts.deltas.unused(), [], 'children may be on their way')
  await writeDisk(pathOf(engine, vm, 1), 2)
  await live.release()
  await assertMerged(engine, vm, 2)
})

test('a merge that gave way has left a level: what is below it is lent, and that level is copied', async () => {
  await using engine = await TestEngine.open()
  const vm = await diskVm(engine, 'parent', 1)
  await freeze(engine, vm)
  await writeDisk(pathOf(engine, vm, 1), 2)
  const live = await frozen(engine, vm)
  const [disk] = await live.seeds()
  assert(disk?.seed.kind === 'copy')
  assert.deepEqual([live.levels, disk.seed.from], [[1], pathOf(engine, vm, 1)])
  const [delta] = engine.context.deltas.list()
  assert.ok(delta)
  assert.deepEqual([disk.frozen, disk.seed.over], [[delta.id], engine.context.paths.delta(delta.id)])
  await live.release()
  await assertMerged(engine, vm, 2)
})

test('a disk over a frozen delta is copied with that under it, however large', async () => {
  await using engine = await TestEngine.open()
  const parent = await diskVm(engine, 'parent', 1)
  const child = await diskVm(engine, 'child', 9)
  await freeze(engine, parent)
  const delta = await engine.parts.deltas.lend(parent.id, 0)
  await standOn(engine, child, delta)
  await writeDisk(pathOf(engine, child), 3, largeMiB)
  engine.vmm.of(child.id).disks.holdsJobs = true
  const live = await engine.parts.runtimes.exclusively(child.id, () => frozen(engine, child))
  const [disk] = await live.seeds()
  assert(disk?.seed.kind === 'copy')
  assert.deepEqual([disk.frozen, disk.seed.over], [[delta], engine.context.paths.delta(delta)])
  engine.vmm.of(child.id).disks.holdsJobs = false
  await live.release()
  await assertMerged(engine, child, 3)
})

test('a disk that is full, or too full for so many copies, leaves all as it was', async () => {
  await using engine = await TestEngine.open()
  const vm = await diskVm(engine, 'parent', 1)
  const prepare = (copies: number) => prepareLiveDisks(engine.parts, vm, qemuOf(engine, vm), forkOf(copies))
  if (!(await canReflink(engine.context.paths.vmsDir)))
    await assert.rejects(prepare(2 ** 40), (error) => {
      assert(isRametError(error, 'NO_SPACE'))
      assert.match(error.remediation, /Free space/)
      return true
    })
  armFaults('disk-point.created=ENOSPC')
  await assert.rejects(prepare(1), { code: 'ENOSPC' })
  await assertMerged(engine, vm, 1)
  const live = await frozen(engine, vm)
  await live.release()
  await assertMerged(engine, vm, 1)
})

for (const point of ['delta.recorded', 'delta.linked', 'delta.lent']) {
  test(`a lending that meets a full disk at ${point} is undone, and the next one succeeds`, async () => {
    await using engine = await TestEngine.open()
    const vm = await diskVm(engine, 'parent', 1)
    // Lent in any file system: it stands over a level that a merge has left.
    await freeze(engine, vm)
    await writeDisk(pathOf(engine, vm, 1), 2)
    armFaults(`${point}=ENOSPC`)
    await assert.rejects(frozen(engine, vm), { code: 'ENOSPC' })
    await assertMerged(engine, vm, 2)
    const live = await frozen(engine, vm)
    assert.equal((await live.seeds()).length, 1)
    await live.release()
    await assertMerged(engine, vm, 2)
  })
}

test('a merge that meets a full disk throws nothing: the vm runs over the longer chain until there is room', async () => {
  await using engine = await TestEngine.open()
  const vm = await diskVm(engine, 'parent', 1)
  const live = await frozen(engine, vm)
  await live.seeds()
  await writeDisk(pathOf(engine, vm, 1), 2)
  const { disks } = engine.vmm.of(vm.id)
  disks.jobError = 'No space left on device'
  await live.release()
  await engine.parts.settling.idle()
  assert.ok(existsSync(pathOf(engine, vm, 1)))
  assert.equal(engine.context.vms.find(vm.id).state, 'running')
  disks.jobError = undefined
  // The next fork neither waits for it nor fails.
  const next = await frozen(engine, vm)
  assert.deepEqual(next.levels, [1])
  assert.ok(engine.vmm.of(vm.id).calls.includes('blockdev-reopen'), 'QEMU lets others read what it was to write to')
  assert.equal((await next.seeds())[0]?.seed.kind, 'copy')
  await next.release()
  await assertMerged(engine, vm, 2)
})

test('a point over a lent delta that could not be merged is merged before the next fork, or refuses it', async () => {
  await using engine = await TestEngine.open()
  const vm = await diskVm(engine, 'parent', 1)
  await freeze(engine, vm)
  const hold = engine.parts.deltas.hold(await engine.parts.deltas.lend(vm.id, 0))
  await writeDisk(pathOf(engine, vm, 1), 2)
  const { disks } = engine.vmm.of(vm.id)
  disks.jobError = 'No space left on device'
  const live = await frozen(engine, vm)
  await writeDisk(pathOf(engine, vm, 2), 3)
  await live.release()
  assert.ok(existsSync(pathOf(engine, vm, 2)))
  await assert.rejects(frozen(engine, vm), (error) => isRametError(error, 'NO_SPACE'))
  assert.equal(existsSync(pathOf(engine, vm, 3)), false, 'no chain is deeper')
  await engine.parts.settling.idle()
  disks.jobError = undefined
  // The background has it too, though the delta is still lent.
  engine.parts.settling.schedule()
  await engine.parts.settling.idle()
  assert.equal(existsSync(pathOf(engine, vm, 2)), false)
  await checkDisk(pathOf(engine, vm, 1), 3)
  hold[Symbol.dispose]()
  engine.parts.settling.schedule()
  await assertMerged(engine, vm, 3)
})

test('a vm that is gone by then is not merged', async () => {
  await using engine = await TestEngine.open()
  const { parent } = await family(engine)
  const live = await engine.parts.runtimes.exclusively(parent.id, () => frozen(engine, parent))
  await (await engine.vms.remove('parent', true)).done
  await live.release()
  await engine.parts.settling.idle()
  assert.deepEqual(engine.context.deltas.list(), [])
})
