import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { SnapshotCreate } from '../../api/snapshot.ts'
import { RametError } from '../../shared/errors.ts'
import type { VmRecord } from '../records.ts'
import { TestEngine } from '../testing/test-engine.ts'
import { vmView } from '../vm/vm-view.ts'
import { waitingDiskFile } from './place-disks.ts'
import { checkpointFile } from './restore-request.ts'

/** A vm on disk, as a pause would have left it; its guest arrives as soon as a page server is asked for it. */
async function suspended(engine: TestEngine): Promise<VmRecord> {
  const { context, pageServers, vmm } = engine
  const { id } = await engine.createVm({ name: 'sleeper' })
  await (await engine.vms.kill(id)).done
  const dir = context.paths.suspended(id)
  await mkdir(dir)
  await writeFile(join(dir, checkpointFile), 'memory')
  const checkpoint = { digest: 'd'.repeat(64), fileBytes: 6 }
  pageServers.onServe = (_, { takeOver }) => {
    if (!takeOver) vmm.of(id).arrive()
  }
  return context.vms.update(id, { state: 'suspended', suspended: { ...checkpoint, atMs: 1, frozen: true } })
}

async function resumed(engine: TestEngine): Promise<VmRecord> {
  const { id } = await suspended(engine)
  await (await engine.vms.resume(id)).done
  return engine.context.vms.find(id)
}

const viewOf = ({ context }: TestEngine, id: string) => vmView(context.vms.find(id))
const restoreOf = ({ context }: TestEngine, id: string) => context.vms.find(id).restore

/** Resolves with the next event of a restore in that state. */
function untilRestore(engine: TestEngine, state: string): Promise<void> {
  return new Promise((resolve) => {
    const subscription = engine.context.events.subscribe(undefined, ({ type, data }) => {
      if (type !== 'vm.restore' || data.state !== state) return
      subscription.unsubscribe()
      resolve()
    })
  })
}

test('a vm on disk runs before its memory has come, and its file is kept until then', async () => {
  await using engine = await TestEngine.open()
  const vm = await resumed(engine)
  const { newest } = engine.pageServers
  assert.equal(vm.state, 'running')
  assert.equal(vm.restore?.state, 'filling')
  const [request] = newest.served
  assert.equal(request?.qemuSocket, join(engine.context.paths.vm(vm.id), 'restore-0.sock'))
  assert.equal(request?.checkpoint && 'path' in request.checkpoint && existsSync(request.checkpoint.path), true)
  assert.deepEqual(newest.marked, [`${vm.restore?.id} ready`])
  const guest = engine.vmm.of(vm.id)
  const order = [
    'migrate-set-capabilities',
    'migrate-incoming',
    'set_link',
    'cont',
    'identity.apply',
    'thaw',
    'set_link',
  ]
  assert.deepEqual(
    guest.calls.filter((call) => order.includes(call)),
    order,
  )
  const done = untilRestore(engine, 'done')
  newest.tell('completed')
  await done
  await engine.parts.restores.complete(vm.id, quiet)
  assert.ok(guest.calls.includes('closefd'), 'the second way in is closed')
  assert.equal(restoreOf(engine, vm.id)?.state, 'done')
})

const quiet = { signal: new AbortController().signal, progress: () => {} }

test('a page server that dies before the guest is there is seen as time only', async () => {
  await using engine = await TestEngine.open()
  const { id } = await suspended(engine)
  const { pageServers, vmm } = engine
  let deaths = 0
  pageServers.onServe = (server) => {
    deaths += 1
    if (deaths > 2) return vmm.of(id).arrive()
    server.die()
    vmm.of(id).crash()
  }
  await (await engine.vms.resume(id)).done
  assert.equal(deaths, 3)
  assert.equal(engine.context.vms.find(id).state, 'running')
  assert.equal(restoreOf(engine, id)?.interruptions, 0)
})

test('one that dies each time leaves the vm on disk', async () => {
  await using engine = await TestEngine.open()
  const { id } = await suspended(engine)
  engine.pageServers.onServe = (server) => {
    server.die()
    engine.vmm.of(id).crash()
  }
  await assert.rejects((await engine.vms.resume(id)).done, { code: 'DAEMON_UNREACHABLE' })
  const vm = engine.context.vms.find(id)
  assert.equal(vm.state, 'suspended')
  assert.equal(vm.process, undefined)
  assert.ok(existsSync(engine.context.paths.suspended(id)))
})

test('a page server that dies later is followed by another, which takes over', async () => {
  await using engine = await TestEngine.open()
  const { id } = await resumed(engine)
  const [first] = engine.pageServers.all
  for (let round = 1; round <= 3; round += 1) {
    const filling = untilRestore(engine, 'filling')
    engine.pageServers.newest.die()
    await filling
    const { newest } = engine.pageServers
    assert.notEqual(newest, first)
    assert.equal(newest.served.at(-1)?.takeOver, true)
    assert.match(newest.served.at(-1)?.qemuSocket ?? '', new RegExp(`restore-${round}.sock$`))
    assert.equal(restoreOf(engine, id)?.interruptions, round)
  }
  assert.equal(engine.vmm.of(id).calls.filter((call) => call === 'migrate-recover').length, 3)
})

test('a way to QEMU that is lost before the page server has answered is looked for again', {
  timeout: 20_000,
}, async () => {
  await using engine = await TestEngine.open()
  const { id } = await suspended(engine)
  const { pageServers, vmm } = engine
  let served = 0
  pageServers.onServe = (server, { takeOver }) => {
    if (!takeOver) vmm.of(id).arrive()
    served += 1
    // The first time as it begins, the second as it is taken over.
    if (served <= 2) server.tell('lost')
  }
  const { restores } = engine.parts
  await (await engine.vms.resume(id)).done
  while (served < 3 || (await restores.reportOf(id))?.state !== 'filling') await setImmediate()
  assert.equal(pageServers.all.length, 1, 'the same server is asked again')
  assert.deepEqual(
    pageServers.newest.served.map(({ takeOver }) => takeOver),
    [false, true, true],
  )
  const done = untilRestore(engine, 'done')
  pageServers.newest.tell('completed')
  await done
})

test('one that dies while it takes over is followed by yet another', async () => {
  await using engine = await TestEngine.open()
  const { id } = await resumed(engine)
  const { pageServers } = engine
  let left = 3
  pageServers.onServe = (server) => {
    left -= 1
    if (left > 0) server.die()
  }
  const filling = untilRestore(engine, 'filling')
  pageServers.newest.die()
  await filling
  assert.equal(left, 0)
  assert.equal(restoreOf(engine, id)?.state, 'filling')
})

test('whoever needs all of its memory has it fetched at full speed, by the next server too', async () => {
  await using engine = await TestEngine.open()
  const vm = await resumed(engine)
  const completing = engine.parts.restores.complete(vm.id, quiet)
  const filling = untilRestore(engine, 'filling')
  assert.deepEqual(engine.pageServers.newest.hurried, [vm.restore?.id])
  engine.pageServers.newest.die()
  await filling
  assert.deepEqual(engine.pageServers.newest.hurried, [vm.restore?.id])
  engine.pageServers.newest.tell('completed')
  await completing
})

test('nobody waits for memory that cannot come', async () => {
  await using engine = await TestEngine.open()
  const { id } = await resumed(engine)
  const completing = engine.parts.restores.complete(id, quiet)
  engine.pageServers.newest.tell('failed', {}, 'block 3 is not what it was')
  await assert.rejects(completing, { code: 'CHECKPOINT_DAMAGED' })
})

test('a guest whose memory cannot come is told of, and waited for by nobody', async () => {
  await using engine = await TestEngine.open()
  const { id } = await resumed(engine)
  const { calls, runtimes } = engine.parts
  const session = await runtimes.get(id)?.guest.session()
  assert.ok(session?.open)
  const failed = untilRestore(engine, 'failed')
  engine.pageServers.newest.tell('failed', {}, 'block 3 is not what it was')
  await failed
  const { restore, state, stateReason } = viewOf(engine, id)
  assert.deepEqual([state, restore?.state], ['running', 'failed'])
  assert.equal(stateReason, 'its memory cannot come: block 3 is not what it was')
  const refusal = { code: 'CHECKPOINT_DAMAGED', message: /block 3/, remediation: /ramet kill/ }
  await assert.rejects(calls.begin({ id }), refusal)
  await assert.rejects((await engine.vms.stop(id, { force: false })).done, refusal)
  assert.equal(engine.context.vms.find(id).state, 'running')
  // Whoever talked to it is let go of.
  await session.closed
  // Another page server may be able to read it.
  const filling = untilRestore(engine, 'filling')
  engine.pageServers.newest.die()
  await filling
  assert.equal(viewOf(engine, id).stateReason, undefined)
  const again = untilRestore(engine, 'failed')
  engine.pageServers.newest.tell('failed', {}, 'block 3 is not what it was')
  await again
  await (await engine.vms.stop(id, { force: true })).done
  assert.equal(viewOf(engine, id).stateReason, undefined)
})

test('what is gone when the next page server wants it is a problem, and is not asked for again', async () => {
  await using engine = await TestEngine.open()
  const { id } = await resumed(engine)
  const { pageServers } = engine
  const completing = assert.rejects(engine.parts.restores.complete(id, quiet), { code: 'CHECKPOINT_DAMAGED' })
  pageServers.onServe = () => {
    throw new RametError('BASE_DAMAGED', { message: 'its base is gone', remediation: 'Remove it.' })
  }
  pageServers.newest.die()
  await completing
  while (restoreOf(engine, id)?.problem === undefined) await setImmediate()
  assert.equal(restoreOf(engine, id)?.problem, 'its base is gone. Remove it.')
  await assert.rejects(engine.parts.restores.complete(id, quiet), { code: 'CHECKPOINT_DAMAGED' })
  assert.equal(pageServers.newest.served.length, 1)
  await (await engine.vms.kill(id)).done
  assert.equal(engine.context.vms.find(id).state, 'stopped')
})

test('a vm that is killed meanwhile is of no interest to the page server any more', async () => {
  await using engine = await TestEngine.open()
  const vm = await resumed(engine)
  const completing = assert.rejects(engine.parts.restores.complete(vm.id, quiet), { code: 'CANCELLED' })
  await (await engine.vms.kill(vm.id)).done
  await completing
  const { context, pageServers } = engine
  assert.deepEqual(pageServers.newest.dropped, [vm.restore?.id])
  assert.equal(context.vms.find(vm.id).state, 'stopped')
  await (await engine.vms.start(vm.id)).done
  assert.equal(restoreOf(engine, vm.id), undefined)
  assert.equal(context.vms.find(vm.id).suspended, undefined)
  assert.ok(!existsSync(context.paths.suspended(vm.id)))
})

test('a checkpoint that is refused leaves the vm on disk', async () => {
  await using engine = await TestEngine.open()
  const { id } = await suspended(engine)
  engine.pageServers.onServe = () => {
    throw new RametError('CHECKPOINT_DAMAGED', { message: 'block 3 is not what it was' })
  }
  await assert.rejects((await engine.vms.resume(id)).done, { code: 'CHECKPOINT_DAMAGED' })
  assert.equal(engine.context.vms.find(id).state, 'suspended')
  assert.ok(existsSync(engine.context.paths.suspended(id)))
})

/** Resumes a vm whose guest could not be told what it must know: it is now, in this order. */
async function assertTold(engine: TestEngine, id: string): Promise<void> {
  const { calls } = engine.vmm.of(id)
  calls.length = 0
  await (await engine.vms.resume(id)).done
  const told = ['cont', 'identity.apply', 'thaw', 'set_link']
  assert.deepEqual(
    calls.filter((call) => told.includes(call)),
    told,
  )
}

test('an agent that does not answer leaves the vm paused with its workload frozen, and the next resume goes on', async () => {
  await using engine = await TestEngine.open()
  const { id } = await suspended(engine)
  let isDeaf = true
  engine.vmm.interfere = (what) => {
    if (isDeaf && what === 'identity.apply') throw new Error('deaf')
  }
  await assert.rejects((await engine.vms.resume(id)).done)
  const vm = engine.context.vms.find(id)
  assert.equal(vm.state, 'paused')
  assert.equal(vm.frozenWhilePaused, true)
  isDeaf = false
  await assertTold(engine, id)
  await (await engine.vms.pause(id, { toDisk: false })).done
  const { calls } = engine.vmm.of(id)
  calls.length = 0
  await (await engine.vms.resume(id)).done
  assert.ok(!calls.includes('identity.apply'), 'it is told once')
})

test('an agent that does not answer in a guest that cannot be paused leaves the vm running, to be told when it can', async () => {
  await using engine = await TestEngine.open()
  const { id } = await suspended(engine)
  let isDeaf = true
  engine.vmm.interfere = (what) => {
    if (isDeaf && (what === 'identity.apply' || what === 'stop')) throw new Error('deaf')
  }
  await assert.rejects((await engine.vms.resume(id)).done)
  assert.equal(engine.context.vms.find(id).state, 'running')
  isDeaf = false
  await (await engine.vms.pause(id, { toDisk: false })).done
  await assertTold(engine, id)
})

test('a QEMU that ends while its guest is to be paused leaves the vm failed', async () => {
  await using engine = await TestEngine.open()
  const { id } = await suspended(engine)
  engine.vmm.interfere = async (what, guest) => {
    if (what === 'identity.apply') throw new Error('deaf')
    if (what !== 'stop') return
    guest?.crash()
    await guest?.gone
  }
  await assert.rejects((await engine.vms.resume(id)).done)
  await engine.parts.runtimes.exclusively(id, async () => {})
  assert.equal(engine.context.vms.find(id).state, 'failed')
})

test('a vm is killed at once while it comes back', async () => {
  await using engine = await TestEngine.open()
  const { id } = await completeButUnanswered(engine)
  await (await engine.vms.kill(id)).done
  assert.equal(engine.context.vms.find(id).state, 'stopped')
  assert.ok(!existsSync(engine.context.paths.suspended(id)))
})

test('a vm is killed at once while it waits for memory to be paused', async () => {
  await using engine = await TestEngine.open()
  const { id } = await resumed(engine)
  const { done } = await engine.vms.pause(id, { toDisk: true })
  done.catch(() => {})
  await (await engine.vms.kill(id)).done
  assert.equal(engine.context.vms.find(id).state, 'stopped')
})

test('whoever waits for memory is let go at once, though the page server does not answer', {
  timeout: 20_000,
}, async () => {
  await using engine = await TestEngine.open()
  const { id } = await resumed(engine)
  engine.pageServers.onHurry = () => new Promise<never>(() => {})
  const abort = new AbortController()
  const completing = engine.parts.restores.complete(id, { ...quiet, signal: abort.signal })
  while (engine.pageServers.newest.hurried.length === 0) await setImmediate()
  abort.abort(new RametError('CANCELLED', { message: 'no more' }))
  await assert.rejects(completing, { code: 'CANCELLED' })
})

test('a vm is killed at once while its memory is fetched for a snapshot', async () => {
  await using engine = await TestEngine.open()
  const vm = await resumed(engine)
  const { done } = await engine.snapshots.create(vm, SnapshotCreate.parse({}))
  const failed = assert.rejects(done, { code: 'CANCELLED' })
  while (engine.pageServers.newest.hurried.length === 0) await setImmediate()
  await (await engine.vms.kill(vm.id)).done
  await failed
  assert.equal(engine.context.vms.find(vm.id).state, 'stopped')
})

test('the next daemon follows a restore that the last one began', async () => {
  await using first = await TestEngine.open()
  const { id, restore } = await resumed(first)
  const { engine } = await first.restart()
  await using _ = engine
  assert.equal(engine.context.vms.find(id).state, 'running')
  // The fake server is another one, and has never heard of it.
  assert.equal(engine.pageServers.newest.served[0]?.restoreId, restore?.id)
  assert.equal(engine.pageServers.newest.served[0]?.takeOver, true)
  const done = untilRestore(engine, 'done')
  engine.pageServers.newest.tell('completed')
  await done
})

/** A resumption whose agent says nothing, of a vm whose memory has all come by then. */
async function completeButUnanswered(engine: TestEngine): Promise<VmRecord> {
  const { id } = await suspended(engine)
  const applied = Promise.withResolvers<void>()
  engine.vmm.interfere = (what) => {
    if (what !== 'identity.apply') return
    applied.resolve()
    return new Promise<never>(() => {})
  }
  const { done } = await engine.vms.resume(id)
  done.catch(() => {})
  await applied.promise
  engine.pageServers.newest.tell('completed')
  await engine.parts.restores.complete(id, quiet)
  return engine.context.vms.find(id)
}

test('a guest that runs is not ended by the next daemon, though its file is of no more use', async () => {
  await using first = await TestEngine.open()
  const { id, state, restore } = await completeButUnanswered(first)
  assert.deepEqual([state, restore?.state], ['restoring', 'done'])
  first.vmm.interfere = () => {}
  const { engine } = await first.restart()
  await using _ = engine
  const vm = engine.context.vms.find(id)
  assert.equal(vm.state, 'running')
  assert.equal(vm.suspended, undefined)
  assert.ok(!existsSync(engine.context.paths.suspended(id)))
})

test('memory that has all come before the guest goes on leaves no file behind', async () => {
  await using engine = await TestEngine.open()
  const { id } = await suspended(engine)
  engine.vmm.interfere = async (what) => {
    if (what !== 'set_link' || engine.context.vms.find(id).suspended?.resumedAtMs !== undefined) return
    engine.pageServers.newest.tell('completed')
    await engine.parts.restores.complete(id, quiet)
  }
  await (await engine.vms.resume(id)).done
  assert.equal(engine.context.vms.find(id).suspended, undefined)
  assert.ok(!existsSync(engine.context.paths.suspended(id)))
})

test('whoever needs all memory also waits until its file has gone, where the next one is written', async () => {
  await using engine = await TestEngine.open()
  const { id } = await resumed(engine)
  engine.pageServers.newest.tell('completed')
  await engine.parts.restores.complete(id, quiet)
  assert.ok(!existsSync(engine.context.paths.suspended(id)))
})

test('a vm that ends before its memory has come leaves no file behind', { timeout: 20_000 }, async () => {
  await using engine = await TestEngine.open()
  const { id } = await resumed(engine)
  const completing = assert.rejects(engine.parts.restores.complete(id, quiet), { code: 'VMM_FAILED' })
  engine.vmm.of(id).crash()
  await completing
  while (existsSync(engine.context.paths.suspended(id))) await setImmediate()
  assert.equal(engine.context.vms.find(id).suspended, undefined)
})

test('a vm that gives up its memory on the way back to a snapshot has the disks of that moment', async () => {
  await using engine = await TestEngine.open()
  const { id } = await suspended(engine)
  const { context } = engine
  const dir = context.paths.vm(id)
  const disks = [{ sizeBytes: 2 ** 30 }]
  await writeFile(join(dir, 'disk0.qcow2'), 'old')
  await writeFile(join(dir, 'disk0.1.qcow2'), 'over the old one')
  await writeFile(join(dir, waitingDiskFile(0)), 'of the snapshot')
  await context.vms.update(id, ({ suspended: at }) => (at ? { disks, suspended: { ...at, placing: true } } : {}))
  await (await engine.vms.kill(id)).done
  assert.equal(await readFile(join(dir, 'disk0.qcow2'), 'utf8'), 'of the snapshot')
  assert.ok(!existsSync(join(dir, 'disk0.1.qcow2')))
})

test('a guest that the next daemon cannot tell that it came back stands until somebody resumes it', async () => {
  await using first = await TestEngine.open()
  const { id } = await completeButUnanswered(first)
  first.vmm.interfere = (what) => {
    if (what === 'identity.apply') throw new Error('deaf')
  }
  const { engine } = await first.restart()
  await using _ = engine
  const { state, frozenWhilePaused } = engine.context.vms.find(id)
  assert.deepEqual([state, frozenWhilePaused], ['paused', true])
  engine.vmm.interfere = () => {}
  await assertTold(engine, id)
})
