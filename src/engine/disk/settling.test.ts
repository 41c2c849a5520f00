import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { afterEach, test } from 'node:test'
import { readLayer } from '../../disk/layer.ts'
import { armFaults } from '../../shared/fault.ts'
import { limits } from '../../shared/limits.ts'
import { silentLog } from '../../shared/log.ts'
import type { VmRecord } from '../records.ts'
import { checkDisk, diskVm, family, freeze, pathOf } from '../testing/lent-disks.ts'
import { TestEngine } from '../testing/test-engine.ts'

afterEach(() => armFaults(''))

const full = 'No space left on device'

/** An engine whose warnings are kept. */
async function open(): Promise<{ engine: TestEngine; warnings: string[] }> {
  const warnings: string[] = []
  const warn = (fields: object) => void warnings.push('error' in fields ? String(fields.error) : '')
  const engine = await TestEngine.open({ log: { ...silentLog, warn } })
  return { engine, warnings }
}

const settle = async ({ parts }: TestEngine) => {
  parts.settling.schedule()
  await parts.settling.idle()
}

/** Each disk is one file again, with what its vm wrote last. */
async function assertAtRest(engine: TestEngine, values: readonly (readonly [VmRecord, number])[]): Promise<void> {
  assert.deepEqual(engine.context.deltas.list(), [])
  for (const [{ id, name }, value] of values) {
    const [disk] = engine.context.vms.find(id).disks
    assert.deepEqual([disk?.frozen, disk?.lent], [undefined, undefined], name)
    assert.equal(existsSync(pathOf(engine, { id }, 1)), false, name)
    const { header } = await readLayer(pathOf(engine, { id }))
    assert.equal(header.backing, undefined, name)
    await checkDisk(pathOf(engine, { id }), value)
  }
}

test('a child collapses what it stands on, and the vm that lent it has it back', async () => {
  const { engine, warnings } = await open()
  await using _ = engine
  const { parent, child } = await family(engine)
  await settle(engine)
  await assertAtRest(engine, [
    [parent, 2],
    [child, 1],
  ])
  assert.deepEqual(warnings, [])
})

test('a collapse that meets a full disk leaves the chain as it is, and is done once there is room', async (t) => {
  const { engine, warnings } = await open()
  await using _ = engine
  const { parent, child, delta } = await family(engine)
  const { disks } = engine.vmm.of(child.id)
  disks.jobError = full
  t.mock.timers.enable({ apis: ['setTimeout'] })
  await settle(engine)
  assert.equal(warnings.length, 1)
  assert.match(warnings[0] ?? '', /collapse0 failed: No space left/)
  assert.deepEqual(engine.context.vms.find(child.id).disks[0]?.frozen, [delta])
  assert.equal(engine.context.vms.find(parent.id).disks[0]?.lent, delta)
  await checkDisk(pathOf(engine, child), 1)
  await checkDisk(pathOf(engine, parent, 1), 2)
  disks.jobError = undefined
  t.mock.timers.tick(limits.diskSettleRetryMs)
  await engine.parts.settling.idle()
  await assertAtRest(engine, [
    [parent, 2],
    [child, 1],
  ])
})

test('a merge back that meets a full disk leaves the longer chain, and is done once there is room', async () => {
  const { engine, warnings } = await open()
  await using _ = engine
  const { parent, child } = await family(engine)
  const { disks } = engine.vmm.of(parent.id)
  disks.jobError = full
  await settle(engine)
  assert.match(warnings[0] ?? '', /merge0 failed: No space left/)
  assert.equal(engine.context.vms.find(parent.id).state, 'running')
  assert.ok(existsSync(pathOf(engine, parent, 1)), 'it runs over the longer chain')
  await checkDisk(pathOf(engine, parent, 1), 2)
  disks.jobError = undefined
  await settle(engine)
  await assertAtRest(engine, [
    [parent, 2],
    [child, 1],
  ])
})

/** Resolves when a fake QEMU is told something. */
function told(engine: TestEngine, vm: VmRecord, command: string): Promise<void> {
  return new Promise((resolve) => {
    engine.vmm.interfere = (what, guest) => {
      if (what === command && guest?.vmId === vm.id) resolve()
    }
  })
}

test('work gives way to an action, and is taken up again after it', async () => {
  await using engine = await TestEngine.open()
  const { parent, child } = await family(engine)
  const guest = engine.vmm.of(child.id)
  guest.disks.holdsJobs = true
  const begun = told(engine, child, 'block-stream')
  engine.parts.settling.schedule()
  await begun
  const cancelled = told(engine, child, 'block-job-cancel')
  await engine.parts.runtimes.exclusively(child.id, async () => {
    await cancelled
    assert.ok(engine.context.vms.find(child.id).disks[0]?.frozen, 'nothing was collapsed yet')
    guest.disks.holdsJobs = false
  })
  await engine.parts.settling.idle()
  await assertAtRest(engine, [
    [parent, 2],
    [child, 1],
  ])
  assert.equal(guest.calls.filter((call) => call === 'block-stream').length, 2)
})

test('when it is stopped what is under way gives way, what waits is not begun, and nothing follows', async () => {
  await using engine = await TestEngine.open()
  // First: what boots has all disks looked at.
  const waiting = await diskVm(engine, 'waiting', 3)
  const { parent, child, delta } = await family(engine)
  await freeze(engine, waiting)
  const guest = engine.vmm.of(child.id)
  guest.disks.holdsJobs = true
  const action = Promise.withResolvers<void>()
  const acting = engine.parts.runtimes.exclusively(waiting.id, () => action.promise)
  const begun = told(engine, child, 'block-stream')
  engine.parts.settling.schedule()
  await begun
  const stopped = engine.parts.settling.stop()
  action.resolve()
  await Promise.all([stopped, acting])
  engine.parts.settling.schedule()
  await engine.parts.settling.idle()
  assert.equal(guest.calls.filter((call) => call === 'block-stream').length, 1)
  assert.equal(engine.vmm.of(waiting.id).calls.includes('block-commit'), false)
  assert.deepEqual(engine.context.vms.find(child.id).disks[0]?.frozen, [delta])
  guest.disks.holdsJobs = false
  await using next = (await engine.restart()).engine
  await next.parts.settling.idle()
  await assertAtRest(next, [
    [parent, 2],
    [child, 1],
    [waiting, 3],
  ])
})

for (const point of ['collapse.begun', 'collapse.done', 'delta.returned', 'disk-point.merging', 'disk-point.merged']) {
  for (const by of ['the same daemon', 'the next one']) {
    test(`what is cut short at ${point} is finished by ${by}`, async () => {
      await using first = await TestEngine.open()
      const { parent, child } = await family(first)
      armFaults(`${point}=ENOSPC`)
      await settle(first)
      assert.ok(
        first.context.deltas.list().length > 0 || existsSync(pathOf(first, parent, 1)) || point.endsWith('merged'),
      )
      await using next = by === 'the next one' ? (await first.restart()).engine : undefined
      const engine = next ?? first
      await settle(engine)
      await assertAtRest(engine, [
        [parent, 2],
        [child, 1],
      ])
    })
  }
}

test('a vm that stopped is settled by its files; one that starts while it lends takes a copy', async () => {
  await using engine = await TestEngine.open()
  const { parent, child } = await family(engine)
  engine.vmm.of(child.id).disks.holdsJobs = true
  await (await engine.vms.stop('parent', { force: true })).done
  assert.ok(engine.context.vms.find(parent.id).disks[0]?.lent, 'its child still reads it')
  await (await engine.vms.start('parent')).done
  assert.equal(engine.context.vms.find(parent.id).disks[0]?.lent, undefined)
  await checkDisk(pathOf(engine, parent), 2)
  await checkDisk(pathOf(engine, child), 1)
  await (await engine.vms.stop('child', { force: true })).done
  await settle(engine)
  await assertAtRest(engine, [
    [parent, 2],
    [child, 1],
  ])
})

test('the frozen delta of a vm that is gone is removed with its last reader, once', async () => {
  await using engine = await TestEngine.open()
  const { child, delta } = await family(engine)
  engine.vmm.of(child.id).disks.holdsJobs = true
  await (await engine.vms.remove('parent', true)).done
  assert.ok(existsSync(engine.context.paths.delta(delta)))
  await (await engine.vms.remove('child', true)).done
  for (let time = 0; time < 3; time += 1) engine.parts.settling.schedule()
  await engine.parts.settling.idle()
  assert.deepEqual([engine.context.deltas.list(), existsSync(engine.context.paths.delta(delta))], [[], false])
})

test('vms that cannot be settled are not looked at in turns for ever', async () => {
  await using engine = await TestEngine.open()
  const { runtimes } = engine.parts
  const vms = [await diskVm(engine, 'one', 1), await diskVm(engine, 'two', 2)]
  // Running by the record, but in nobody's care: their recovery has failed.
  for (const { id } of vms) {
    await engine.context.vms.update(id, { disks: [{ sizeBytes: 2 ** 26, frozen: ['delta-gone'] }] })
    await runtimes.drop(id)
  }
  let looks = 0
  const inBackground = runtimes.inBackground.bind(runtimes)
  runtimes.inBackground = (id, work) => {
    looks += 1
    assert.ok(looks < 10, 'it does not end')
    return inBackground(id, work)
  }
  await settle(engine)
  assert.equal(looks, 2)
})
