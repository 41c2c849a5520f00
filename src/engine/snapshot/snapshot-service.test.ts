import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { test } from 'node:test'
import { SnapshotCreate } from '../../api/snapshot.ts'
import { isRametError } from '../../shared/errors.ts'
import type { RestoreRecord } from '../records.ts'
import { storedSnapshot } from '../testing/snapshots.ts'
import { TestEngine } from '../testing/test-engine.ts'

const everything = { limit: 100 }

test('snapshots are listed oldest first, by state, label and vm', async () => {
  await using engine = await TestEngine.open()
  const [web, db] = [
    await engine.createVm({ name: 'web', start: false }),
    await engine.createVm({ name: 'db', start: false }),
  ]
  await storedSnapshot(engine, db, { name: 'b', createdAtMs: 2, labels: { job: 'nightly' } })
  await storedSnapshot(engine, web, { name: 'a', createdAtMs: 1 })
  await storedSnapshot(engine, web, { name: 'c', createdAtMs: 3, state: 'creating' })
  const names = (query: object) => engine.snapshots.list({ ...everything, ...query }).items.map(({ name }) => name)
  assert.deepEqual(names({}), ['a', 'b', 'c'])
  assert.deepEqual(names({ state: ['creating'] }), ['c'])
  assert.deepEqual(names({ label: ['job=nightly'] }), ['b'])
  assert.deepEqual(names({ vm: 'web' }), ['a', 'c'])
  assert.deepEqual(names({ vm: db.id }), ['b'])
})

test('what a snapshot remembers of its vm has nothing of what ran for it', async () => {
  await using engine = await TestEngine.open()
  const vm = await engine.createVm({ name: 'web', ttlSeconds: 60 })
  const lent = {
    ...vm,
    frozenWhilePaused: true as const,
    disks: [{ sizeBytes: 1024, frozen: ['delta-1'], lent: 'delta-2' }],
  }
  const { vm: remembered } = await storedSnapshot(engine, lent)
  assert.equal(remembered.state, 'running')
  for (const field of ['process', 'frozenWhilePaused', 'baseId', 'expiresAtMs', 'ttlLeftMs', 'timings'] as const)
    assert.equal(remembered[field], undefined, field)
  assert.deepEqual([remembered.helpers, remembered.disks, remembered.ttlMs], [[], [{ sizeBytes: 1024 }], 60_000])
})

test('a vm that does not run is refused before anything is begun', async () => {
  await using engine = await TestEngine.open()
  const vm = await engine.createVm({ name: 'web', start: false })
  await assert.rejects(engine.snapshots.create(vm, SnapshotCreate.parse({})), (error) => {
    assert.ok(isRametError(error, 'ILLEGAL_STATE'))
    assert.match(error.message, /cannot snapshot web: it is created/)
    assert.match(error.remediation, /ramet start web/)
    return true
  })
  const kinds = engine.context.operations.list().map(({ kind }) => kind)
  assert.deepEqual(kinds, ['vm.create'])
})

test('a name is had by one snapshot', async () => {
  await using engine = await TestEngine.open()
  const vm = await engine.createVm({ name: 'web' })
  await storedSnapshot(engine, vm)
  const request = SnapshotCreate.parse({ name: 'saved' })
  await assert.rejects(engine.snapshots.create(vm, request), (error) => isRametError(error, 'NAME_TAKEN'))
})

test('one that is being made, or from which memory still comes, stays; then it goes with its files', async () => {
  await using engine = await TestEngine.open()
  const { context, snapshots } = engine
  const vm = await engine.createVm({ name: 'web', start: false })
  const { id } = await storedSnapshot(engine, vm, { state: 'creating' })
  const now = () => context.snapshots.find(id)
  await assert.rejects(snapshots.remove(now()), (error) => isRametError(error, 'ILLEGAL_STATE'))
  await context.snapshots.update(id, { state: 'ready' })
  const restore = { snapshotId: id, state: 'filling' } as RestoreRecord
  await context.vms.update(vm.id, { restore })
  await assert.rejects(snapshots.remove(now()), (error) => {
    assert.ok(isRametError(error, 'IN_USE'))
    assert.deepEqual(error.details.vms, ['web'])
    return true
  })
  await context.vms.update(vm.id, { restore: { ...restore, state: 'done' } })
  {
    using _ = engine.parts.uses.hold(id)
    await assert.rejects(snapshots.remove(now()), (error) => isRametError(error, 'IN_USE'))
  }
  await (await snapshots.remove(now())).done
  assert.equal(context.snapshots.get(id), undefined)
  assert.equal(existsSync(context.paths.snapshot(id)), false)
  assert.ok(engine.events.some(({ type }) => type === 'snapshot.removed'))
})

test('a time to live begins when it is given, and ends with the snapshot', async () => {
  await using engine = await TestEngine.open()
  const { snapshots, context } = engine
  const saved = await storedSnapshot(engine, await engine.createVm({ name: 'web', start: false }))
  const before = Math.floor(context.clock.nowMs())
  const { ttlSeconds, expiresAt } = await snapshots.update(saved, { ttlSeconds: 60 })
  assert.equal(ttlSeconds, 60)
  assert.ok(Date.parse(expiresAt ?? '') >= before + 60_000)
  assert.equal((await snapshots.update(saved, { ttlSeconds: null })).expiresAt, undefined)
  const gone = new Promise((resolve) => {
    context.events.subscribe(undefined, ({ type }) => type === 'snapshot.removed' && resolve(type))
  })
  snapshots.expire(saved.id)
  await gone
  assert.deepEqual(snapshots.list(everything).items, [])
})

test('what it stands on cannot be removed, and the refusal names it', async () => {
  await using engine = await TestEngine.open()
  const template = await engine.createTemplate('warm')
  const vm = await engine.createVm({ name: 'web', start: false })
  await storedSnapshot(engine, vm, { checkpoint: { digest: '', fileBytes: 0, baseOf: template.id } })
  await assert.rejects(engine.templates.remove(template), (error) => {
    assert.ok(isRametError(error, 'IN_USE'))
    assert.deepEqual(error.details.snapshots, ['saved'])
    assert.match(error.remediation, /ramet snapshot rm saved/)
    return true
  })
  assert.ok(engine.parts.images.dependents(vm.imageId).includes('saved'))
})

test('the next daemon removes what was being made or removed, and directories that are nobody’s', async () => {
  await using engine = await TestEngine.open()
  const vm = await engine.createVm({ name: 'web', start: false })
  const states = ['creating', 'removing', 'ready', 'failed'] as const
  for (const state of states) await storedSnapshot(engine, vm, { name: state, state })
  await mkdir(engine.context.paths.snapshot('snap-unknown'))
  const { engine: next, reaped } = await engine.restart()
  await using _ = next
  const left = next.context.snapshots.list()
  assert.deepEqual(left.map(({ name }) => name).sort(), ['failed', 'ready'])
  for (const { id } of left) assert.ok(existsSync(next.context.paths.snapshot(id)))
  assert.equal(existsSync(next.context.paths.snapshot('snap-unknown')), false)
  assert.equal(reaped.directory, 1)
})

test('a removal that was only written down is taken back by the next daemon when a vm needs the snapshot', async () => {
  await using engine = await TestEngine.open()
  const { context } = engine
  const vm = await engine.createVm({ name: 'web', start: false })
  const { id } = await storedSnapshot(engine, vm)
  const checkpoint = { digest: 'ab'.repeat(32), fileBytes: 6 }
  await context.vms.update(vm.id, { state: 'suspended', suspended: { ...checkpoint, atMs: 1, snapshotId: id } })
  await context.snapshots.update(id, { state: 'removing' })
  const { engine: next } = await engine.restart()
  await using _ = next
  assert.equal(next.context.snapshots.get(id)?.state, 'ready')
  assert.ok(existsSync(next.context.paths.snapshot(id)))
})
