import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { afterEach, test } from 'node:test'
import { armFaults } from '../../shared/fault.ts'
import { pastOf, undoGoingBack } from '../restore/going-back.ts'
import { checkDisk, diskVm, freeze, pathOf, standOn } from '../testing/lent-disks.ts'
import { TestEngine } from '../testing/test-engine.ts'

afterEach(() => armFaults(''))

const told = ({ events }: TestEngine) =>
  events.flatMap((event) => (event.type === 'vm.disks' ? [`${event.resource.name} ${String(event.data?.state)}`] : []))

test('a delta that is lent has two names, can be written by nobody, and its vm says so', async () => {
  await using engine = await TestEngine.open()
  const { context, deltas } = engine.parts
  const vm = await diskVm(engine, 'parent', 1)
  await freeze(engine, vm)
  const id = await deltas.lend(vm.id, 0)
  const [own, other] = [await stat(pathOf(engine, vm)), await stat(context.paths.delta(id))]
  assert.equal(own.ino, other.ino)
  assert.equal(own.mode & 0o777, 0o444)
  assert.equal(context.vms.find(vm.id).disks[0]?.lent, id)
  assert.deepEqual(told(engine), ['parent lent'])
})

test('it is used by whoever stands on it, and held for who is on the way', async () => {
  await using engine = await TestEngine.open()
  const { deltas } = engine.parts
  const vm = await diskVm(engine, 'parent', 1)
  const child = await diskVm(engine, 'child', 2)
  await freeze(engine, vm)
  const id = await deltas.lend(vm.id, 0)
  const unused = () => deltas.unused().map((delta) => delta.id)
  assert.deepEqual(unused(), [id])
  const [first, second] = [deltas.hold(id), deltas.hold(id)]
  first[Symbol.dispose]()
  assert.deepEqual(unused(), [], 'held twice, let go once')
  await standOn(engine, child, id)
  second[Symbol.dispose]()
  assert.deepEqual(unused(), [])
  assert.deepEqual(
    deltas.users(id).map(({ name }) => name),
    ['child'],
  )
  await deltas.collapsed(child.id, 0)
  assert.deepEqual([unused(), engine.context.vms.find(child.id).disks[0]?.frozen], [[id], undefined])
})

test('it stays while its vm, or who stands on it, goes back to a snapshot: those disks may be put back', async () => {
  await using engine = await TestEngine.open()
  const { context, deltas } = engine.parts
  const vm = await diskVm(engine, 'parent', 1)
  const child = await diskVm(engine, 'child', 2)
  await freeze(engine, vm)
  const id = await deltas.lend(vm.id, 0)
  await standOn(engine, child, id)
  const others = [{ sizeBytes: 65536 }]
  const unused = () => deltas.unused().map((delta) => delta.id)
  for (const going of [child, vm]) {
    await context.vms.update(going.id, { goingBack: pastOf(context.vms.find(going.id)), disks: others })
    assert.deepEqual(unused(), [], going.name)
    if (going === child) await context.vms.update(going.id, { goingBack: undefined })
  }
  await undoGoingBack(context, vm.id)
  assert.equal(context.vms.find(vm.id).disks[0]?.lent, id)
  assert.deepEqual(unused(), [id])
})

test('given back it is its vm’s again, and a second time changes nothing', async () => {
  await using engine = await TestEngine.open()
  const { context, deltas } = engine.parts
  const vm = await diskVm(engine, 'parent', 1)
  await freeze(engine, vm)
  const record = context.deltas.find(await deltas.lend(vm.id, 0))
  for (let time = 0; time < 2; time += 1) {
    await deltas.giveBack(record)
    assert.equal((await stat(pathOf(engine, vm))).mode & 0o777, 0o600)
    assert.deepEqual([context.vms.find(vm.id).disks[0]?.lent, context.deltas.list()], [undefined, []])
    assert.equal(existsSync(context.paths.delta(record.id)), false)
  }
})

test('with its vm gone it is removed; one of an earlier lending does not touch the newer', async () => {
  await using engine = await TestEngine.open()
  const { context, deltas } = engine.parts
  const vm = await diskVm(engine, 'parent', 1)
  await freeze(engine, vm)
  const earlier = context.deltas.find(await deltas.lend(vm.id, 0))
  const later = await deltas.lend(vm.id, 0)
  await deltas.giveBack(earlier)
  assert.equal((await stat(pathOf(engine, vm))).mode & 0o777, 0o444, 'it is still lent')
  assert.equal(context.vms.find(vm.id).disks[0]?.lent, later)
  const path = context.paths.delta(later)
  await (await engine.vms.remove('parent', true)).done
  await engine.parts.settling.idle()
  assert.deepEqual([existsSync(path), context.deltas.list()], [false, []])
})

for (const point of ['delta.recorded', 'delta.linked', 'delta.lent']) {
  for (const next of ['the same daemon', 'the next one']) {
    test(`a lending cut short at ${point} is undone by ${next}, and the disk is whole`, async () => {
      await using first = await TestEngine.open()
      const vm = await diskVm(first, 'parent', 1)
      await freeze(first, vm)
      armFaults(`${point}=ENOSPC`)
      await assert.rejects(first.parts.deltas.lend(vm.id, 0), { code: 'ENOSPC' })
      await using second = next === 'the next one' ? (await first.restart()).engine : undefined
      const engine = second ?? first
      engine.parts.settling.schedule()
      await engine.parts.settling.idle()
      assert.deepEqual(engine.context.deltas.list(), [])
      assert.equal(engine.context.vms.find(vm.id).disks[0]?.lent, undefined)
      assert.equal((await stat(pathOf(engine, vm))).mode & 0o777, 0o600)
      assert.equal(existsSync(pathOf(engine, vm, 1)), false, 'what stood above is merged')
      await checkDisk(pathOf(engine, vm), 1)
    })
  }
}

test('a return cut short is repeated', async () => {
  await using engine = await TestEngine.open()
  const { context, deltas } = engine.parts
  const vm = await diskVm(engine, 'parent', 1)
  await freeze(engine, vm)
  const record = context.deltas.find(await deltas.lend(vm.id, 0))
  armFaults('delta.returned=ENOSPC')
  await assert.rejects(deltas.giveBack(record), { code: 'ENOSPC' })
  assert.equal(context.vms.find(vm.id).disks[0]?.lent, record.id)
  await using next = (await engine.restart()).engine
  await next.parts.settling.idle()
  assert.deepEqual([next.context.deltas.list(), next.context.vms.find(vm.id).disks[0]?.lent], [[], undefined])
  await checkDisk(pathOf(next, vm), 1)
})
