import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ForkRequest } from '../../api/fork.ts'
import { SnapshotRestore } from '../../api/snapshot.ts'
import type { MemoryInfo } from '../../host/meminfo.ts'
import { wholeSnapshot } from '../testing/snapshots.ts'
import { TestEngine } from '../testing/test-engine.ts'
import { readHostStats } from './host-stats.ts'

const MiB = 1024 * 1024
const GiB = 1024 * MiB

const host: MemoryInfo = {
  ...{ totalBytes: 24 * GiB, availableBytes: 20 * GiB, freeBytes: 20 * GiB, sharedBytes: 0, swapFreeBytes: 0 },
}

/** An engine on a host whose memory is what the test says. */
async function opened() {
  const memory = { ...host }
  const engine = await TestEngine.open({ readMemory: () => memory })
  /** Leaves less than any start needs. */
  const fillUp = () => {
    memory.availableBytes = 500 * MiB
    memory.freeBytes = 500 * MiB
  }
  return { engine, memory, fillUp }
}

const refused = { code: 'NO_CAPACITY', message: /of 500 MiB available 492 MiB stay free, which leaves 8.5 MiB/ }

test('no vm is made, started or forked that does not fit, and none is the worse for it', async () => {
  const { engine, memory, fillUp } = await opened()
  await using _ = engine
  const { context, parts } = engine
  const template = await engine.createTemplate('warm')
  const web = await engine.createVm({ name: 'web' })
  const rest = await engine.createVm({ name: 'rest', start: false })
  fillUp()
  await assert.rejects(engine.createVm({ name: 'late' }), refused)
  assert.equal(context.vms.nameTaken('late'), false)
  await engine.createVm({ name: 'later', start: false })
  await assert.rejects(engine.forks.fork(template, ForkRequest.parse({})), refused)
  await assert.rejects(engine.forks.forkVm(web, ForkRequest.parse({})), refused)
  assert.equal(context.vms.find(web.id).state, 'running')
  const started = await engine.vms.start(rest.id)
  await assert.rejects(started.done, refused)
  assert.equal(context.vms.find(rest.id).state, 'created')
  assert.equal((await readHostStats(parts)).memory.refusedCount, 4)
  Object.assign(memory, host)
  await (await engine.vms.start(rest.id)).done
  assert.equal(context.vms.find(rest.id).state, 'running')
  assert.equal(parts.admission.capacity.promisedBytes, 0)
})

test('a restore counts until its memory has come, and one that does not fit is refused', async () => {
  const { engine, memory } = await opened()
  await using _ = engine
  const { context, pageServers, parts, vmm } = engine
  pageServers.onServe = (_server, { vmName }) => vmm.of(context.vms.find(vmName).id).arrive()
  const snapshot = await wholeSnapshot(engine)
  assert.equal((await readHostStats(parts)).cache, undefined, 'no page server is started to be asked')
  assert.equal(pageServers.all.length, 0)
  const restore = async (name: string) => {
    const request = SnapshotRestore.parse({ into: 'new', names: [name], mode: 'lazy' })
    return (await (await engine.snapshotRestores.restore(snapshot, request)).done).results[0]
  }
  assert.equal((await restore('one'))?.ok, true)
  // The fake server says that 50 pages are missing.
  assert.equal(parts.admission.capacity.promisedBytes, 50 * 4096)
  pageServers.newest.report = { ...pageServers.newest.report, hits: 3, misses: 1, lost: 1, replaced: 2 }
  const { cache } = await readHostStats(parts)
  assert.deepEqual([cache?.hitRatio, cache?.servedFromHeldCount, cache?.gaveBackBytes], [0.6, 3, 0])
  pageServers.newest.tell('completed')
  assert.equal(parts.admission.capacity.promisedBytes, 0)
  memory.availableBytes = 500 * MiB
  const late = await restore('two')
  assert.deepEqual([late?.ok, late?.ok === false && late.error.code], [false, 'NO_CAPACITY'])
  assert.equal(context.vms.nameTaken('two'), false)
  pageServers.newest.die()
  assert.equal((await readHostStats(parts)).cache, undefined)
})
