import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { chmod, link, mkdir, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { SnapshotRestore, type SnapshotRestored, type SnapshotRestoreInput } from '../../api/snapshot.ts'
import { createDisk } from '../../disk/create.ts'
import { diskFile } from '../../fork/disk-file.ts'
import { manifestPath } from '../../memory/stored-base.ts'
import { isRametError, RametError } from '../../shared/errors.ts'
import { baseFile } from '../disk/bases.ts'
import type { SnapshotRecord, VmRecord } from '../records.ts'
import type { Changes } from '../registry.ts'
import { pastOf, turnBack } from '../restore/going-back.ts'
import { placeDisks, waitingDiskFile } from '../restore/place-disks.ts'
import { checkpointFile } from '../restore/restore-request.ts'
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
  await context.vms.update(id, { name: 'web-2', labels: { kept: 'yes' }, frozenWhilePaused: true })
  const restored = await restore(engine, snapshot, {})
  assert.deepEqual([namesOf(restored), restored.mode], [['web-2'], 'lazy'])
  const vm = context.vms.find(id)
  assert.deepEqual([vm.state, vm.nics, vm.labels], ['running', nics, { kept: 'yes' }])
  assert.equal(vm.frozenWhilePaused, undefined, 'its workload has been thawed')
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

test('a vm that was paused to disk keeps its memory unless somebody gives it up', async () => {
  const { engine, snapshot } = await opened()
  await using _ = engine
  const { vms } = engine.context
  const { id } = vms.find('web')
  const suspended = { digest: 'd'.repeat(64), fileBytes: 6, atMs: 1 }
  await vms.update(id, { state: 'suspended', suspended })
  await assert.rejects(restore(engine, snapshot, {}), (error) => {
    assert.ok(isRametError(error, 'ILLEGAL_STATE'))
    assert.match(error.remediation, /ramet kill web.*--as NAME/)
    return true
  })
  assert.deepEqual([vms.find(id).state, vms.find(id).suspended], ['suspended', suspended])
  await (await engine.vms.kill(id)).done
  assert.deepEqual(namesOf(await restore(engine, snapshot, {})), ['web'])
})

test('several new vms cannot have one port of the host', async () => {
  const { engine, snapshot } = await opened()
  await using _ = engine
  const ports = [{ guestPort: 80, hostPort: 34_999 }]
  await assert.rejects(restore(engine, snapshot, { into: 'new', count: 2, ports }), (error) =>
    isRametError(error, 'INVALID_ARGUMENT'),
  )
})

test('a vm is killed or removed at once while it goes back', async () => {
  for (const how of ['kill', 'remove'] as const) {
    const { engine, snapshot } = await opened()
    await using _ = engine
    const { context, vmm } = engine
    const { id } = context.vms.find('web')
    const applied = Promise.withResolvers<void>()
    vmm.interfere = (what) => {
      if (what !== 'identity.apply') return
      applied.resolve()
      return new Promise<never>(() => {})
    }
    const { done } = await engine.snapshotRestores.restore(snapshot, SnapshotRestore.parse({}))
    const cancelled = assert.rejects(done, (error) => isRametError(error, 'CANCELLED'))
    await applied.promise
    if (how === 'kill') await (await engine.vms.kill(id)).done
    else await (await engine.vms.remove(id, true)).done
    await cancelled
    assert.equal(context.vms.get(id)?.state, how === 'kill' ? 'stopped' : undefined)
  }
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
  const states: unknown[] = []
  context.events.subscribe(undefined, ({ type, data }) => void (type === 'vm.state' && states.push(data.state)))
  let spawns = 0
  engine.vmm.interfere = (what) => {
    if (what === 'spawn') spawns += 1
    // The first is asked for its processor.
    if (what === 'spawn' && spawns > 1) throw new TypeError('no process')
  }
  await assert.rejects(restore(engine, snapshot, {}))
  assert.equal(spawns, 2)
  assert.equal(context.vms.get(id), undefined, 'nothing is left of one that could not be made')
  assert.equal(states.at(-1), 'removing', 'a daemon that dies meanwhile leaves nothing that could be resumed')
  engine.vmm.interfere = () => {}
  await restore(engine, snapshot, {})
  assert.deepEqual([context.vms.find(id).name, context.vms.find(id).state], ['web', 'running'])
})

/** With two disks of two levels each, as files of a few bytes. @returns what is in each file of its directory */
async function withDisks(engine: TestEngine, snapshot: SnapshotRecord): Promise<() => Promise<Record<string, string>>> {
  const { context } = engine
  const { id } = context.vms.find('web')
  const dir = context.paths.vm(id)
  const disks = [{ sizeBytes: 65536 }, { sizeBytes: 65536 }]
  const machine = { ...snapshot.vm.machine, diskCount: disks.length }
  await context.vms.update(id, { disks, machine })
  await context.snapshots.update(snapshot.id, { vm: { ...snapshot.vm, disks, machine } })
  await mkdir(dir, { recursive: true })
  for (const [index] of disks.entries()) {
    await createDisk({ path: join(context.paths.snapshot(snapshot.id), diskFile(index)), virtualBytes: 65536 })
    for (const level of [0, 1]) await writeFile(join(dir, diskFile(index, level)), `today ${index} ${level}`)
  }
  await engine.parts.fingerprints.recordSnapshot(snapshot.id, disks.length)
  return async () => {
    const names = (await readdir(dir)).filter((name) => name.startsWith('disk'))
    return Object.fromEntries(
      await Promise.all(names.sort().map(async (name) => [name, await readFile(join(dir, name), 'latin1')])),
    )
  }
}

/** All of a record but what is new with each attempt to let the vm run. */
const lasting = ({ generationId: _, helpers: _helpers, ...rest }: VmRecord) => rest

const pasts: Record<string, Changes<VmRecord>> = {
  stopped: { state: 'stopped', stateReason: 'the guest shut down' },
  failed: { state: 'failed', failure: { reason: 'other', message: 'it failed', consoleLines: [], at: '' } },
  // Its memory is of no more use: else it would be refused.
  suspended: { state: 'suspended', suspended: { digest: 'ab'.repeat(32), fileBytes: 6, atMs: 1, resumedAtMs: 2 } },
}

for (const [name, past] of Object.entries(pasts))
  test(`a vm that was ${name} and whose QEMU cannot start at the snapshot is what it was, with disks and memory`, async () => {
    const { engine, snapshot } = await opened()
    await using _ = engine
    const { context, vmm } = engine
    const filesOf = await withDisks(engine, snapshot)
    const { id } = context.vms.find('web')
    const ownCheckpoint = join(context.paths.suspended(id), checkpointFile)
    await mkdir(context.paths.suspended(id))
    await writeFile(ownCheckpoint, 'memory')
    const before = await context.vms.update(id, structuredClone(past))
    const files = await filesOf()
    let diskOfThen = ''
    let spawns = 0
    vmm.interfere = async (what) => {
      if (what !== 'spawn') return
      spawns += 1
      // The first is asked for its processor.
      if (spawns === 1) return
      diskOfThen = (await filesOf())[diskFile(0)] ?? ''
      throw new RametError('VMM_FAILED', { message: 'no QEMU' })
    }
    await assert.rejects(restore(engine, snapshot, {}), (error) => isRametError(error, 'VMM_FAILED'))
    assert.equal(spawns, 2)
    assert.equal(diskOfThen.slice(0, 3), 'QFI', 'the disks of that moment were in place')
    assert.deepEqual(lasting(context.vms.find(id)), lasting(before))
    assert.deepEqual(await filesOf(), files)
    assert.equal(await readFile(ownCheckpoint, 'utf8'), 'memory')
    // Levels as these cannot be merged; what goes back loses them.
    vmm.interfere = () => {}
    await restore(engine, snapshot, {})
    assert.deepEqual([context.vms.find(id).state, context.vms.find(id).goingBack], ['running', undefined])
    assert.deepEqual(Object.keys(await filesOf()), [diskFile(0), diskFile(1)])
    assert.ok(!existsSync(ownCheckpoint), 'what it had is given up')
  })

test('a vm whose QEMU ends just when its guest is to run keeps no disks of before', async () => {
  const { engine, snapshot } = await opened()
  await using _ = engine
  const filesOf = await withDisks(engine, snapshot)
  engine.vmm.interfere = async (what, guest) => {
    if (what !== 'cont') return
    guest?.crash()
    await guest?.gone
  }
  await assert.rejects(restore(engine, snapshot, {}))
  const { state, goingBack } = engine.context.vms.find('web')
  assert.deepEqual([state, goingBack], ['failed', undefined])
  assert.deepEqual(Object.keys(await filesOf()), [diskFile(0), diskFile(1)])
})

test('a vm that cannot go back keeps today’s disks also when a daemon dies while it puts them back', async () => {
  const { engine, snapshot } = await opened()
  await using _ = engine
  const { context } = engine
  const filesOf = await withDisks(engine, snapshot)
  const { id } = context.vms.find('web')
  const files = await filesOf()
  const before = context.vms.find(id)
  const dir = context.paths.vm(id)
  await context.vms.update(id, { state: 'restoring', goingBack: pastOf(before) })
  for (const index of [0, 1]) await writeFile(join(dir, waitingDiskFile(index)), `then ${index}`)
  const { checkpoint } = context.snapshots.find(snapshot.id)
  assert.ok(checkpoint !== undefined)
  const back = await turnBack(context, id, {}, { ...checkpoint, atMs: 1, snapshotId: snapshot.id })
  await placeDisks(context, back)
  assert.equal((await filesOf())[diskFile(1)], 'then 1')
  // As far as it had come: one is back already.
  await rm(join(dir, diskFile(0)))
  await link(join(dir, `${diskFile(0)}.before`), join(dir, diskFile(0)))
  const { engine: next } = await engine.restart()
  await using _next = next
  assert.deepEqual(lasting(next.context.vms.find(id)), lasting(before))
  assert.deepEqual(await filesOf(), files)
})

test('a vm that cannot be put back can be removed', async () => {
  const { engine, snapshot } = await opened()
  await using _ = engine
  const { context } = engine
  await withDisks(engine, snapshot)
  const { id } = context.vms.find('web')
  engine.pageServers.onServe = async () => {
    await mkdir(join(context.paths.vm(id), `${diskFile(0)}.before.tmp`))
    throw new RametError('CHECKPOINT_DAMAGED', { message: 'its devices are damaged' })
  }
  await assert.rejects(restore(engine, snapshot, {}), (error) => isRametError(error, 'CHECKPOINT_DAMAGED'))
  await assert.rejects((await engine.vms.kill('web')).done)
  await (await engine.vms.remove('web', true)).done
  assert.equal(context.vms.get(id), undefined)
  assert.ok(!existsSync(context.paths.vm(id)))
})

test('a vm that could not be put back when it failed is put back when it is killed', async () => {
  const { engine, snapshot } = await opened()
  await using _ = engine
  const { context } = engine
  const filesOf = await withDisks(engine, snapshot)
  const files = await filesOf()
  const { id } = context.vms.find('web')
  const blocked = join(context.paths.vm(id), `${diskFile(0)}.before.tmp`)
  engine.pageServers.onServe = async () => {
    await mkdir(blocked)
    throw new RametError('CHECKPOINT_DAMAGED', { message: 'its devices are damaged' })
  }
  await assert.rejects(restore(engine, snapshot, {}), (error) => isRametError(error, 'CHECKPOINT_DAMAGED'))
  assert.equal(context.vms.find(id).state, 'restoring')
  await rm(blocked, { recursive: true })
  await (await engine.vms.kill('web')).done
  assert.deepEqual([context.vms.find(id).state, context.vms.find(id).goingBack], ['stopped', undefined])
  assert.deepEqual(await filesOf(), files)
})

test('a vm whose guest cannot come back is what it was, and lets the snapshot go', async () => {
  const { engine, snapshot } = await opened()
  await using _ = engine
  const { context } = engine
  const { id } = context.vms.find('web')
  engine.pageServers.onServe = () => {
    throw new RametError('CHECKPOINT_DAMAGED', { message: 'its devices are damaged' })
  }
  await assert.rejects(restore(engine, snapshot, {}), (error) => isRametError(error, 'CHECKPOINT_DAMAGED'))
  assert.deepEqual([context.vms.find(id).state, context.vms.find(id).suspended], ['stopped', undefined])
  letArrive(engine)
  await restore(engine, snapshot, {})
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
