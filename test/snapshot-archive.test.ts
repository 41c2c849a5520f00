import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { after, before, describe, it } from 'node:test'
import type { Snapshot, Vm } from '../src/client/index.ts'
import { importFaults } from './support/fault-points.ts'
import { Host } from './support/host.ts'
import { namesIn } from './support/leaks.ts'
import { assertInOrder } from './support/order.ts'
import { assertInMemory, contentOf, diskDigest, snapshotDir } from './support/snapshot-content.ts'

const MiB = 1024 * 1024

describe('a snapshot that is exported', () => {
  let host: Host
  let vm: Vm
  let snapshot: Snapshot
  let bytes: Buffer
  let archive = ''

  before(async () => {
    host = await Host.start()
    vm = await host.boot({ name: 'web', disks: [{ sizeBytes: 16 * MiB }] })
    const fill = 'dd if=/dev/urandom bs=1M count=2 2>/dev/null'
    await vm.commands.run(`${fill} of=/dev/vda; ${fill} > /tmp/ballast; sync`)
    snapshot = await vm.snapshot({ name: 'saved', labels: { job: 'test' } })
    archive = join(host.dataDir, '..', 'saved.tar')
  })
  after(() => host.close())

  it('is one file, by the command line', async () => {
    const { code, stderr } = await host.cli(['snapshot', 'export', 'saved', archive])
    assert.equal(code, 0, stderr)
    bytes = await readFile(archive)
    assert.doesNotMatch(bytes.subarray(0, 64 * 1024).toString('latin1'), new RegExp(host.dataDir))
  })

  it('is imported on another host, with memory and disk as they were', async () => {
    const other = await Host.start()
    try {
      const { code, stdout, stderr } = await other.cli(['snapshot', 'import', archive, '--name', 'arrived'])
      assert.deepEqual([code, stdout], [0, 'arrived\n'], stderr)
      const arrived = await other.ramet.snapshots.get('arrived')
      assert.equal(await diskDigest(other, arrived), await diskDigest(host, snapshot))
      await assertInMemory(other, arrived, await contentOf(vm, '/tmp/ballast'), 'on another host')
      assert.deepEqual(arrived.info.memory, snapshot.info.memory)
      assert.deepEqual([arrived.info.digest, arrived.info.labels], [snapshot.info.digest, { job: 'test' }])
      await assertInOrder(other, 'imported')
    } catch (error) {
      await other.abandon()
      throw error
    }
    await other.close()
  })

  it('is refused where its image is not, and where it is cut short or altered, and nothing is left', async () => {
    const other = await Host.start({ images: [] })
    try {
      const lacking = await other.cli(['snapshot', 'import', archive])
      assert.equal(lacking.code, 3)
      assert.match(lacking.stderr, /stands on image micro:latest .*not here\n {2}remedy: Bring the image/)
      await other.ramet.images.build({ recipe: 'micro' })
      const altered = Buffer.from(bytes)
      altered[bytes.length >> 1] = (altered[bytes.length >> 1] ?? 0) ^ 1
      for (const bad of [altered, bytes.subarray(0, bytes.length - MiB)]) {
        await assert.rejects(other.ramet.snapshots.import(bad), { code: 'CHECKPOINT_DAMAGED' })
        await assertInOrder(other, 'refused')
      }
      assert.deepEqual(await other.ramet.snapshots.list(), [])
    } catch (error) {
      await other.abandon()
      throw error
    }
    await other.close()
  })

  it('is not exported with an altered disk or checkpoint, and no file is left', async () => {
    const dir = snapshotDir(host, snapshot)
    const target = join(host.dataDir, '..', 'damaged.tar')
    for (const [name, says] of [
      ['disk0.qcow2', /disk0\.qcow2 of snapshot saved is damaged: its content has changed/],
      ['memory.ckpt', /snapshot saved is damaged: the block \d+ of .*memory\.ckpt does not match its checksum/],
    ] as const) {
      const path = join(dir, name)
      const whole = await readFile(path)
      const altered = Buffer.from(whole)
      altered.fill(7, whole.length >> 1, (whole.length >> 1) + 4096)
      await writeFile(path, altered)
      const { code, stderr } = await host.cli(['snapshot', 'export', 'saved', target])
      assert.equal(code, 1, stderr)
      assert.match(stderr, says)
      assert.match(stderr, /remedy: Put the file back as it was/)
      const through = async () => pipeline(await snapshot.export(), new PassThrough().resume())
      await assert.rejects(through(), name)
      await writeFile(path, whole)
    }
    const path = join(dir, 'memory.ckpt')
    const whole = await readFile(path)
    await truncate(path, whole.length - MiB)
    const cut = await host.cli(['snapshot', 'export', 'saved', target])
    assert.equal(cut.code, 1)
    assert.match(cut.stderr, /memory\.ckpt has \d+ bytes instead of/)
    await writeFile(path, whole)
    assert.deepEqual(
      namesIn(join(host.dataDir, '..')).filter((name) => name.startsWith('damaged')),
      [],
    )
    assert.equal((await host.cli(['snapshot', 'export', 'saved', target])).code, 0)
    assert.equal((await snapshot.refresh()).failure, undefined)
    await rm(target)
  })

  for (const point of importFaults) {
    it(`and imported by a daemon that is killed at ${point} is there whole, or not at all`, async () => {
      await host.restart(`${point}=kill`)
      const importing = host.ramet.snapshots.import(bytes, { name: 'doomed' }).catch((error: unknown) => error)
      assert.deepEqual(await host.daemon.ended, { code: null, signal: 'SIGKILL' }, `the fault at ${point} was reached`)
      await host.restart()
      await importing
      await assertInOrder(host, point)
      for (const left of await host.ramet.snapshots.list({ label: ['job=test'] })) {
        if (left.name !== 'doomed') continue
        assert.equal(point, 'snapshot.imported')
        assert.equal(await diskDigest(host, left), await diskDigest(host, snapshot))
        await left.remove()
      }
    })
  }

  it('is let go of when whoever exports it is interrupted, and nothing is left of an import that is', async () => {
    const cut = await vm.snapshot({ name: 'cut' })
    const exporting = host.startCli(['snapshot', 'export', 'cut', '-'])
    const exported = once(exporting, 'exit')
    // Nobody reads on from there.
    await once(exporting.stdout, 'readable')
    await assert.rejects(cut.remove(), { code: 'IN_USE' })
    exporting.kill('SIGINT')
    assert.deepEqual(await exported, [130, null])
    await host.until('it is let go of', () =>
      cut.remove().then(
        () => true,
        () => false,
      ),
    )
    const importing = host.startCli(['snapshot', 'import', '-'])
    const imported = once(importing, 'exit')
    const names = () => namesIn(join(host.dataDir, 'snapshots')).length
    const before = names()
    importing.stdin.on('error', () => {})
    importing.stdin.write(bytes.subarray(0, MiB))
    await host.until('it is received', async () => names() > before)
    importing.kill('SIGINT')
    assert.deepEqual(await imported, [130, null])
    await host.until('nothing of it is left', async () => names() === before)
  })

  it('cannot be sent in halves', async () => {
    async function* half() {
      yield bytes.subarray(0, MiB)
      throw new Error('enough')
    }
    await assert.rejects(host.ramet.snapshots.import(half()))
    await host.until('nothing of it is left', async () => {
      const known = await host.ramet.snapshots.list()
      return namesIn(join(host.dataDir, 'snapshots')).length === known.length
    })
    await writeFile(archive, '')
    assert.equal((await host.cli(['snapshot', 'import', archive])).code, 1)
    await rm(archive)
  })
})
