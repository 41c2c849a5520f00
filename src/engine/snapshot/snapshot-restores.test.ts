import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { chmod, open, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { SnapshotRestore, type SnapshotRestored, type SnapshotRestoreInput } from '../../api/snapshot.ts'
import { manifestPath } from '../../memory/stored-base.ts'
import { isRametError, RametError } from '../../shared/errors.ts'
import { baseFile } from '../disk/bases.ts'
import type { SnapshotRecord } from '../records.ts'
import { cpuFeatures } from '../testing/fake-vmm.ts'
import { wholeSnapshot } from '../testing/snapshots.ts'
import { TestEngine } from '../testing/test-engine.ts'
import { checkpointPathOf } from './snapshot-files.ts'

/** Guests arrive as soon as a page server is asked for them. */
function letArrive({ context, pageServers, vmm }: TestEngine): void {
  pageServers.onServe = (_, { takeOver, vmName }) => {
    if (!takeOver) vmm.of(context.vms.find(vmName).id).arrive()
  }
}

async function restore(
  engine: TestEngine,
  snapshot: SnapshotRecord,
  request: SnapshotRestoreInput,
): Promise<SnapshotRestored> {
  const action = await engine.snapshotRestores.restore(snapshot, SnapshotRestore.parse(request))
  return action.done
}

async function opened(): Promise<{ engine: TestEngine; snapshot: SnapshotRecord }> {
  const engine = await TestEngine.open()
  letArrive(engine)
  return { engine, snapshot: await wholeSnapshot(engine) }
}

const namesOf = ({ results }: SnapshotRestored) =>
  results.map((result) => (result.ok ? result.vm.name : [result.name, result.error.code]))

test('a new vm comes lazily, with an identity of its own, and keeps the snapshot until its memory has come', async () => {
  const { engine, snapshot } = await opened()
  await using _ = engine
  const { context } = engine
  const restored = await restore(engine, snapshot, { into: 'new', names: ['again'], policy: 'virtual' })
  assert.deepEqual([namesOf(restored), restored.mode, restored.warnings], [['again'], 'lazy', undefined])
  const vm = context.vms.find('again')
  assert.deepEqual(vm.source, { kind: 'snapshot', id: snapshot.id, name: 'saved' })
  assert.deepEqual(
    vm.ancestors?.map(({ kind, name }) => [kind, name]),
    [
      ['vm', 'web'],
      ['snapshot', 'saved'],
    ],
  )
  assert.deepEqual([vm.baseId, vm.restore?.snapshotId, vm.restore?.state], [undefined, snapshot.id, 'filling'])
  const [request] = engine.pageServers.newest.served
  assert.deepEqual(
    [request?.policy, request?.checkpoint],
    ['virtual', { path: checkpointPathOf(context.paths, snapshot.id) }],
  )
  assert.ok(request?.base?.path.endsWith(baseFile), 'pages of the template are read from its base')
  const guest = engine.vmm.of(vm.id)
  const order = ['set_link', 'cont', 'identity.apply', 'thaw']
  assert.deepEqual(
    guest.calls.filter((call) => order.includes(call)),
    ['set_link', 'cont', 'identity.apply', 'thaw', 'set_link'],
    'its links are down until it has proved who it is',
  )
  assert.equal(context.snapshots.find(snapshot.id).restoreCount, 1)
  await assert.rejects(engine.snapshots.remove(snapshot), (error) => isRametError(error, 'IN_USE'))
})

test('several map one base, which goes with the last of them', async () => {
  const { engine, snapshot } = await opened()
  await using _ = engine
  const { context } = engine
  const restored = await restore(engine, snapshot, { into: 'new', count: 2, namePrefix: 'ci' })
  assert.deepEqual([namesOf(restored), restored.mode], [['ci-0', 'ci-1'], 'shared'])
  const bases = new Set(restored.results.map((result) => result.ok && context.vms.find(result.vm.id).baseId))
  assert.equal(bases.size, 1)
  assert.deepEqual(
    context.bases.list().map(({ id }) => id),
    [...bases],
  )
  assert.equal(engine.pageServers.all.length, 0)
  for (const name of ['ci-0', 'ci-1']) await (await engine.vms.remove(name, true)).done
  assert.deepEqual(context.bases.list(), [])
})

test('a host on which no guest can wait for pages loads all memory first, and says why; unless it was to be lazy', async () => {
  const { engine, snapshot } = await opened()
  await using _ = engine
  const { context, vmm } = engine
  // As QEMU refuses the capability; the ordinary ones, which every child is given, it has.
  const counts = new Map<string, number>()
  vmm.interfere = (what, guest) => {
    if (what !== 'migrate-set-capabilities' || guest === undefined) return
    const count = (counts.get(guest.vmId) ?? 0) + 1
    counts.set(guest.vmId, count)
    if (count === 2) throw new TypeError('Postcopy is not supported')
  }
  const eager = await restore(engine, snapshot, { into: 'new', names: ['again'] })
  assert.deepEqual([namesOf(eager), eager.mode], [['again'], 'eager'])
  assert.match(eager.warnings?.join() ?? '', /userfaultfd/)
  assert.ok(context.vms.find('again').baseId !== undefined)
  const lazy = await restore(engine, snapshot, { into: 'new', names: ['other'], mode: 'lazy' })
  assert.deepEqual(namesOf(lazy), [['other', 'HOST_UNFIT']])
  assert.equal(context.vms.nameTaken('other'), false)
})

test('a page server that dies before the guest is there costs time, and nothing else', async () => {
  const { engine, snapshot } = await opened()
  await using _ = engine
  const { context, pageServers, vmm } = engine
  let attempts = 0
  pageServers.onServe = (server, { vmName }) => {
    attempts += 1
    if (attempts <= 2) server.die()
    else vmm.of(context.vms.find(vmName).id).arrive()
  }
  assert.deepEqual(namesOf(await restore(engine, snapshot, { into: 'new', names: ['again'] })), ['again'])
  assert.equal(attempts, 3)
  assert.deepEqual(
    context.vms
      .list()
      .map(({ name }) => name)
      .sort(),
    ['again', 'warm-parent', 'web'],
  )
})

test('the vm itself goes back, under the name it has by now; one that runs does not', async () => {
  const { engine, snapshot } = await opened()
  await using _ = engine
  const { context } = engine
  const { id, nics } = context.vms.find('web')
  await context.vms.update(id, { name: 'web-2', labels: { kept: 'yes' } })
  const restored = await restore(engine, snapshot, {})
  assert.deepEqual([namesOf(restored), restored.mode], [['web-2'], 'lazy'])
  const vm = context.vms.find(id)
  assert.deepEqual([vm.state, vm.nics, vm.labels], ['running', nics, { kept: 'yes' }])
  assert.deepEqual([vm.suspended?.snapshotId, vm.restore?.snapshotId], [snapshot.id, snapshot.id])
  await assert.rejects(restore(engine, snapshot, {}), (error) => {
    assert.ok(isRametError(error, 'ILLEGAL_STATE'))
    assert.match(error.remediation, /ramet stop web-2.*--as NAME/)
    return true
  })
  await assert.rejects(restore(engine, snapshot, { labels: { a: 'b' } }), (error) =>
    isRametError(error, 'INVALID_ARGUMENT'),
  )
})

test('a vm that is gone is made again with its id, unless another has its name', async () => {
  const { engine, snapshot } = await opened()
  await using _ = engine
  const { context } = engine
  const { id } = context.vms.find('web')
  await (await engine.vms.remove(id, true)).done
  await engine.createVm({ name: 'web', start: false })
  await assert.rejects(restore(engine, snapshot, {}), (error) => {
    assert.ok(isRametError(error, 'NAME_TAKEN'))
    assert.match(error.remediation, /--as NAME/)
    return true
  })
  await (await engine.vms.remove('web', true)).done
  let spawns = 0
  engine.vmm.interfere = (what) => {
    if (what === 'spawn') spawns += 1
    // The first is asked for its processor.
    if (what === 'spawn' && spawns > 1) throw new TypeError('no process')
  }
  await assert.rejects(restore(engine, snapshot, {}))
  assert.equal(spawns, 2)
  assert.equal(context.vms.get(id), undefined, 'nothing is left of one that could not be made')
  engine.vmm.interfere = () => {}
  await restore(engine, snapshot, {})
  assert.deepEqual([context.vms.find(id).name, context.vms.find(id).state], ['web', 'running'])
})

test('a vm whose guest cannot come back is suspended at that moment, and keeps the snapshot', async () => {
  const { engine, snapshot } = await opened()
  await using _ = engine
  const { context } = engine
  const { id } = context.vms.find('web')
  engine.pageServers.onServe = () => {
    throw new RametError('CHECKPOINT_DAMAGED', { message: 'its devices are damaged' })
  }
  await assert.rejects(restore(engine, snapshot, {}), (error) => isRametError(error, 'CHECKPOINT_DAMAGED'))
  assert.deepEqual([context.vms.find(id).state, context.vms.find(id).suspended?.placing], ['suspended', undefined])
  await assert.rejects(engine.snapshots.remove(snapshot), (error) => isRametError(error, 'IN_USE'))
  letArrive(engine)
  await (await engine.vms.resume('web')).done
  assert.equal(context.vms.find(id).restore?.snapshotId, snapshot.id)
})

test('a file that is damaged or gone, and one whose base is, are refused before anything is made', async () => {
  const refusals = {
    altered: ['CHECKPOINT_DAMAGED', /snapshot saved is damaged/],
    gone: ['CHECKPOINT_DAMAGED', /snapshot saved is damaged/],
    base: ['BASE_DAMAGED', /needs memory of template warm/],
  } as const
  for (const [what, [code, message]] of Object.entries(refusals)) {
    const { engine, snapshot } = await opened()
    await using _ = engine
    const { context } = engine
    const path = checkpointPathOf(context.paths, snapshot.id)
    if (what === 'altered') await flipLast(path)
    if (what === 'gone') await rm(path)
    if (what === 'base') {
      const base = manifestPath(join(context.paths.template(snapshot.checkpoint?.baseOf ?? ''), baseFile))
      await rename(base, `${base}.away`)
    }
    for (const request of [{ into: 'new' }, { into: 'new', mode: 'eager' }, {}] as const)
      await assert.rejects(restore(engine, snapshot, request), (error) => {
        assert.ok(isRametError(error, code), `${what}: ${error}`)
        assert.match(error.message, message)
        return true
      })
    assert.deepEqual(
      (await readdir(context.paths.vmsDir)).filter((name) => context.vms.get(name) === undefined),
      [],
    )
    assert.equal(context.vms.find('web').state, 'stopped', what)
  }
})

async function flipLast(path: string): Promise<void> {
  await chmod(path, 0o600)
  await using file = await open(path, 'r+')
  const { size } = await file.stat()
  const byte = Buffer.alloc(1)
  await file.read(byte, 0, 1, size - 1)
  byte.writeUInt8((byte.readUInt8() ^ 1) & 0xff)
  await file.write(byte, 0, 1, size - 1)
}

test('another machine type, and a processor with less, are refused with what differs', async () => {
  const { engine, snapshot } = await opened()
  await using _ = engine
  const { context, vmm } = engine
  const differing = (feature: string) => (error: unknown) => {
    assert.ok(isRametError(error, 'CHECKPOINT_UNFIT'), String(error))
    assert.ok(error.message.includes(feature), error.message)
    return true
  }
  const missing = cpuFeatures.pop() ?? ''
  try {
    const before = context.vms.find('web')
    for (const request of [{}, { into: 'new' }, { into: 'new', mode: 'eager' }] as const)
      await assert.rejects(restore(engine, snapshot, request), differing(missing))
    assert.deepEqual(context.vms.find('web'), before)
    assert.equal(vmm.guests.size, 1, 'one QEMU was asked, for all of them')
    const [asked] = [...vmm.guests.keys()]
    assert.ok(asked !== undefined && !existsSync(context.paths.vm(asked)))
    assert.deepEqual(context.journal.openOf(asked), [])
  } finally {
    cpuFeatures.push(missing)
  }
  context.host.machineTypes = ['pc-q35-9.9']
  await assert.rejects(restore(engine, snapshot, { into: 'new' }), differing('machine type'))
})

test('one that is being made, and names that are taken, are refused', async () => {
  const { engine, snapshot } = await opened()
  await using _ = engine
  const making = { ...snapshot, state: 'creating' as const }
  await assert.rejects(restore(engine, making, { into: 'new' }), (error) => isRametError(error, 'ILLEGAL_STATE'))
  const taken = restore(engine, snapshot, { into: 'new', names: ['web'] })
  await assert.rejects(taken, (error) => isRametError(error, 'NAME_TAKEN'))
})
