import assert from 'node:assert/strict'
import { chmod, open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { RametApiError, type RestoreOptions, type Snapshot, type Vm } from '../src/client/index.ts'
import { undoneGoBackFaults } from './support/fault-points.ts'
import { Host } from './support/host.ts'
import { assertInOrder } from './support/order.ts'
import { killPageServer } from './support/page-server.ts'
import { snapshotDir } from './support/snapshot-content.ts'

const MiB = 1024 * 1024

/** What is in its memory alone, and on its disk, past its cache. */
async function contentsOf(vm: Vm): Promise<string> {
  const { stdout } = await vm.commands.run(
    'md5sum < /tmp/ballast; md5sum < /dev/vda; echo 1 > /proc/sys/vm/drop_caches; md5sum < /dev/vda',
  )
  return stdout
}

/** What is on its disk alone, which is there also when it has booted. */
async function contentsOnDisk(vm: Vm): Promise<string> {
  const { stdout } = await vm.commands.run('echo 1 > /proc/sys/vm/drop_caches; md5sum < /dev/vda')
  return stdout
}

/** Second names of disks, which only a restore that is under way may leave. */
async function keptFiles(host: Host, vm: Vm): Promise<string[]> {
  const names = await readdir(join(host.dataDir, 'vms', vm.id))
  return names.filter((name) => name.includes('.before') || name.includes('.waiting'))
}

const spoil = (vm: Vm) =>
  vm.commands.run('dd if=/dev/urandom bs=1M count=2 2>/dev/null | tee /tmp/ballast > /dev/vda; sync')

/** Everything by which one guest is told from another, and a number that nobody else may draw. */
async function identityOf(vm: Vm): Promise<string[]> {
  const { stdout } = await vm.commands.run(
    'hostname; cat /etc/machine-id /sys/class/net/eth0/address; ip -o -4 addr show eth0 | tr -s " " | cut -d" " -f4; head -c 16 /dev/urandom | md5sum',
  )
  return stdout.trim().split('\n')
}

describe('a snapshot that is restored', () => {
  let host: Host
  let web: Vm
  let snapshot: Snapshot
  let expected: string

  before(async () => {
    host = await Host.start()
    web = await host.boot({ name: 'web', memoryBytes: 128 * MiB, disks: [{ sizeBytes: 16 * MiB }] })
    await web.commands.run(
      'dd if=/dev/urandom of=/tmp/ballast bs=1M count=20 2>/dev/null; dd if=/dev/urandom of=/dev/vda bs=64k count=40 2>/dev/null',
    )
    expected = await contentsOf(web)
    snapshot = await web.snapshot({ name: 'saved' })
    await spoil(web)
    assert.notEqual(await contentsOf(web), expected)
  })
  after(() => host.close())

  async function restored(options: RestoreOptions): Promise<Vm[]> {
    const vms = await snapshot.restore(options)
    return vms.map((vm) => {
      if (vm instanceof Error) throw vm
      return vm
    })
  }

  const untilWhole = (vm: Vm) =>
    host.until('its memory has come', async () => (await vm.refresh()).restore?.state !== 'filling')

  /** Its disk is one delta, and nothing of the snapshot is below it. */
  async function assertShallow(vm: Vm): Promise<void> {
    const { disks } = await vm.layers()
    assert.deepEqual(
      disks.map(({ layers }) => layers.length),
      [1],
    )
  }

  it('is a new vm that runs before its memory has come, with all contents and an identity of its own', async () => {
    const [again, ...none] = await restored({ into: 'new', names: ['again'] })
    assert.ok(again !== undefined && none.length === 0)
    assert.deepEqual([again.info.source.kind, again.info.source.id], ['snapshot', snapshot.id])
    assert.equal(await contentsOf(again), expected)
    assert.equal((await again.refresh()).restore?.snapshotId, snapshot.id)
    await assertShallow(again)
    const [one, other] = [await identityOf(web), await identityOf(again)]
    assert.equal(one.length, 5)
    for (const [index, value] of other.entries()) assert.notEqual(value, one[index])
    assert.deepEqual([other[0], other[2]], ['again', again.info.nics[0]?.mac])
    await untilWhole(again)
    const { restoreCount, workingSetPages = 0 } = await snapshot.refresh()
    assert.equal(restoreCount, 1)
    assert.ok(workingSetPages > 0, 'what it used first is known to the next one')
    const { now } = (await again.refresh()).restore ?? {}
    assert.ok(now !== undefined && now.prefetchedPages > 0, JSON.stringify(now))
    // Of so few a sample may have none.
    const { prefetchHitRatio: ratio, prefetchSampledPages: sampled, prefetchSampledUsedPages: used } = now
    assert.ok(used <= sampled && (ratio === undefined || ratio === used / sampled), JSON.stringify(now))
    await again.kill()
    await again.remove()
  })

  it('comes again while the memory of the first still comes, each with randomness of its own; and is forked', async () => {
    const one = restored({ into: 'new', names: ['one'] })
    const two = restored({ into: 'new', names: ['two'] })
    const vms = [...(await one), ...(await two)]
    const identities: string[][] = []
    for (const vm of vms) {
      assert.equal(await contentsOf(vm), expected)
      identities.push(await identityOf(vm))
    }
    for (const [index, value] of (identities[0] ?? []).entries()) assert.notEqual(value, identities[1]?.[index])
    const [first, second] = vms
    assert.ok(first !== undefined && second !== undefined)
    await second.kill()
    await second.remove()
    const [child] = await first.forkAll({ names: ['child'] })
    assert.ok(child !== undefined)
    assert.equal(await contentsOf(child), expected)
    await assertShallow(child)
    for (const vm of [first, child]) {
      await vm.kill()
      await vm.remove()
    }
  })

  it('is three vms that share memory which is loaded once', async () => {
    const report = await snapshot.restoreReport({ into: 'new', count: 3, namePrefix: 'ci' })
    assert.equal(report.mode, 'shared')
    for (const [index, vm] of report.vms.entries()) {
      if (vm instanceof Error) throw vm
      assert.equal(await contentsOf(vm), expected)
      const { memory } = await vm.layers()
      const base = memory.find(({ role }) => role === 'base')
      assert.ok((base?.allocatedBytes ?? 0) > 20 * MiB, 'what nobody has written is in the base')
      assert.deepEqual(base?.users?.length, report.vms.length - 1 - index)
      await assertShallow(vm)
      await vm.kill()
      await vm.remove()
    }
    await assertInOrder(host, 'shared')
  })

  it('is loaded whole before the vm runs, where that is wanted', async () => {
    const report = await snapshot.restoreReport({ into: 'new', names: ['whole'], mode: 'eager' })
    const [whole] = report.vms
    if (whole === undefined || whole instanceof Error) throw whole
    assert.equal(report.mode, 'eager')
    assert.equal((await whole.refresh()).restore, undefined)
    assert.equal(await contentsOf(whole), expected)
    await whole.kill()
    await whole.remove()
  })

  it('is refused while the vm runs, and then takes it back, with its identity', async () => {
    const running = (error: unknown) => error instanceof RametApiError && error.code === 'ILLEGAL_STATE'
    await assert.rejects(snapshot.restore(), running)
    const before = await identityOf(web)
    for (const mode of ['lazy', 'eager'] as const) {
      await web.kill()
      await restored({ mode })
      assert.equal(await contentsOf(web), expected, mode)
      await assertShallow(web)
      const [random, ...identity] = (await identityOf(web)).reverse()
      assert.deepEqual(identity, before.toReversed().slice(1))
      assert.notEqual(random, before.at(-1))
      await spoil(web)
    }
  })

  it('makes a vm that is gone again, with its id and its addresses', async () => {
    const { id, nics } = web.info
    await web.kill()
    await web.remove()
    const [vm] = await restored({})
    assert.ok(vm !== undefined)
    web = vm
    assert.deepEqual([web.id, web.name, web.info.nics], [id, 'web', nics])
    assert.equal(await contentsOf(web), expected)
  })

  // Of the last two steps of its coming back, between which there is no return.
  for (const point of [...undoneGoBackFaults, 'resume.recorded', 'resume.going']) {
    it(`leaves a vm whose daemon is killed at ${point} as it was, or running at that moment`, async () => {
      await spoil(web)
      const today = await contentsOnDisk(web)
      await host.restart(`${point}=kill`)
      await web.kill()
      const going = snapshot.restore().catch((error: unknown) => error)
      assert.deepEqual(await host.daemon.ended, { code: null, signal: 'SIGKILL' }, `the fault at ${point} was reached`)
      await host.restart()
      await going
      await assertInOrder(host, point)
      assert.deepEqual(await keptFiles(host, web), [])
      const isBack = point === 'resume.going'
      assert.equal((await web.refresh()).state, isBack ? 'running' : 'stopped')
      if (!isBack) {
        await web.start()
        assert.equal(await contentsOnDisk(web), today)
        await web.kill()
        await restored({})
      }
      assert.equal(await contentsOf(web), expected)
    })
  }

  it('leaves a vm whose QEMU cannot start as it was, with the disk of today', async () => {
    await spoil(web)
    const today = await contentsOnDisk(web)
    await web.kill()
    // The first process is the QEMU that is asked for its processor, the second the page server.
    await host.restart('process.spawn=EAGAIN@3')
    killPageServer(host.dataDir)
    await assert.rejects(snapshot.restore(), RametApiError)
    assert.deepEqual([(await web.refresh()).state, await keptFiles(host, web)], ['stopped', []])
    await web.start()
    assert.equal(await contentsOnDisk(web), today)
    await web.kill()
    await restored({})
    assert.equal(await contentsOf(web), expected)
  })

  it('is refused when its file is altered, where it is read', async () => {
    const damaged = (error: unknown) => error instanceof RametApiError && error.code === 'CHECKPOINT_DAMAGED'
    const path = join(snapshotDir(host, snapshot), 'memory.ckpt')
    const count = (await host.ramet.vms.list()).length
    // Behind the header are the blocks, at the end is what is read first.
    const undoEnd = await flip(path, -100)
    await assert.rejects(snapshot.restore({ into: 'new' }), damaged)
    await undoEnd()
    const undoBlock = await flip(path, 8192)
    await assert.rejects(snapshot.restore({ into: 'new', mode: 'eager' }), damaged)
    assert.equal((await host.ramet.vms.list()).length, count)
    await undoBlock()
    const [vm] = await restored({ into: 'new', mode: 'eager', names: ['right'] })
    assert.ok(vm !== undefined)
    assert.equal(await contentsOf(vm), expected)
    await vm.kill()
    await vm.remove()
  })

  it('is refused when a disk of it is altered, and the vm runs on or stands as it did', async () => {
    const damaged = (error: unknown) =>
      error instanceof RametApiError &&
      error.code === 'CHECKPOINT_DAMAGED' &&
      error.message.includes('disk0.qcow2 of snapshot saved is damaged')
    const undo = await flip(join(snapshotDir(host, snapshot), 'disk0.qcow2'), -100_000)
    const vms = await host.ramet.vms.list()
    for (const mode of ['lazy', 'shared', 'eager'] as const)
      await assert.rejects(snapshot.restore({ into: 'new', count: 2, mode }), damaged, mode)
    await web.kill()
    await assert.rejects(snapshot.restore(), damaged)
    assert.equal((await web.refresh()).state, 'stopped')
    assert.equal((await host.ramet.vms.list()).length, vms.length)
    await assertInOrder(host, 'refused')
    await undo()
    await restored({})
    assert.equal(await contentsOf(web), expected)
  })
})

/** Changes one bit of a file. @param at from its start, or from its end if negative @returns puts it right again */
async function flip(path: string, at: number): Promise<() => Promise<void>> {
  const change = async (): Promise<void> => {
    await chmod(path, 0o600)
    await using file = await open(path, 'r+')
    const { size } = await file.stat()
    const offset = at < 0 ? size + at : at
    const byte = Buffer.alloc(1)
    await file.read(byte, 0, 1, offset)
    byte.writeUInt8(byte.readUInt8() ^ 1)
    await file.write(byte, 0, 1, offset)
  }
  await change()
  return change
}
