import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import process from 'node:process'
import { after, before, describe, it } from 'node:test'
import { setTimeout as later } from 'node:timers/promises'
import type { Vm } from '../src/client/index.ts'
import {
  finishedResumeFaults,
  finishedSuspendFaults,
  interruptedFaults,
  undoneResumeFaults,
  undoneSuspendFaults,
} from './support/fault-points.ts'
import { Host } from './support/host.ts'
import { assertInOrder } from './support/order.ts'
import { killPageServer } from './support/page-server.ts'
import { Random } from './support/random.ts'
import { readRegion, startRegion } from './support/region.ts'

const MiB = 1024 * 1024
const kills = 20
const seed = Number(process.env.RAMET_SEED ?? 4)
const killed = { code: null, signal: 'SIGKILL' }

/** What is in memory, and the disk as the host has it. */
const sumsOf = async (vm: Vm) =>
  (await vm.commands.run('md5sum < /tmp/ballast; echo 1 > /proc/sys/vm/drop_caches; md5sum < /dev/vda')).stdout

async function prepare(host: Host, name: string): Promise<Vm> {
  const vm = await host.boot({ name, memoryBytes: 128 * MiB, disks: [{ sizeBytes: 8 * MiB }] })
  await vm.commands.run(
    'for file in /tmp/ballast /dev/vda; do dd if=/dev/urandom of=$file bs=1M count=8 2>/dev/null; done; sync',
  )
  return vm
}

describe('a daemon killed in the middle of', () => {
  let host: Host
  let vm: Vm
  let expected: string

  before(async () => {
    host = await Host.start()
    vm = await prepare(host, 'sleeper')
    await startRegion(vm, seed, 8)
    expected = await sumsOf(vm)
  })
  after(() => host.close())

  async function assertWhole(when: string): Promise<void> {
    assert.equal((await vm.refresh()).state, 'running', when)
    assert.equal(await sumsOf(vm), expected, when)
    assert.equal((await readRegion(vm)).wrong, 0, when)
  }

  /** Arms the fault in a new daemon, has it die of it, and starts the next one. */
  async function dieAt(point: string, action: () => Promise<unknown>): Promise<void> {
    await host.restart(`${point}=kill`)
    const under = action().catch((error: unknown) => error)
    assert.deepEqual(await host.daemon.endsWithin(60_000), killed, `the fault at ${point} was reached`)
    await host.restart()
    await under
  }

  for (const point of undoneSuspendFaults)
    it(`a pause to disk at ${point} leaves the vm running`, async () => {
      await dieAt(point, () => vm.pause({ toDisk: true }))
      await assertWhole(point)
      assert.deepEqual(await readdir(join(host.dataDir, 'suspended')), [], point)
    })

  for (const point of finishedSuspendFaults)
    it(`a pause to disk at ${point} leaves the vm on disk`, async () => {
      await dieAt(point, () => vm.pause({ toDisk: true }))
      assert.equal((await vm.refresh()).state, 'suspended')
      await assertInOrder(host, point)
      await vm.resume()
      await assertWhole(point)
    })

  for (const point of undoneResumeFaults)
    it(`a resume at ${point} leaves the vm on disk`, async () => {
      await vm.pause({ toDisk: true })
      await dieAt(point, () => vm.resume())
      assert.equal((await vm.refresh()).state, 'suspended')
      assert.ok(existsSync(join(host.dataDir, 'suspended', vm.id)))
      await vm.resume()
      await assertWhole(point)
    })

  for (const point of finishedResumeFaults)
    it(`a resume at ${point} leaves the vm running`, async () => {
      await vm.pause({ toDisk: true })
      await dieAt(point, () => vm.resume())
      await assertWhole(point)
    })
})

describe('a restore whose page server and daemon die again and again', () => {
  let host: Host
  let vm: Vm

  before(async () => {
    // What nobody needs is not fetched, so that the restore lasts for as long as the test wants it to.
    host = await Host.start({ environment: { RAMET_RESTORE_FILL: 'none', RAMET_RESTORE_POLICY: 'none' } })
    vm = await prepare(host, 'sleeper')
    await startRegion(vm, seed, 24)
  })
  after(() => host.close())

  const untilFilling = () =>
    host.until('it is served again', async () => (await vm.refresh()).restore?.state === 'filling')

  it(`${kills} times, at moments that follow from seed ${seed}, gives back every byte`, async () => {
    const random = new Random(seed)
    const expected = await sumsOf(vm)
    await vm.pause({ toDisk: true })
    await vm.resume()
    let died = 0
    while (died < kills) {
      await later(random.below(600))
      const victim = random.pick(['server', 'daemon', 'both'] as const)
      if (victim !== 'daemon' && killPageServer(host.dataDir)) died += 1
      if (victim !== 'server') {
        await host.kill9()
        died += 1
        await later(random.below(300))
        await host.restart()
      }
      // Now and then the next death comes before the last one is got over.
      if (random.chance(0.6)) await untilFilling()
    }
    await untilFilling()
    const { restore } = await vm.refresh()
    assert.ok((restore?.interruptions ?? 0) > 0, 'page servers followed each other')
    assert.equal(await sumsOf(vm), expected)
    const before = await readRegion(vm)
    assert.equal(before.wrong, 0)
    // All of it is there: what was never needed, too.
    await vm.pause({ toDisk: true })
    await vm.resume()
    const again = await readRegion(vm)
    assert.ok(again.pass * 6144 + again.page >= before.pass * 6144 + before.page, 'it went on from there')
    await host.until('it has gone over all of it', async () => (await readRegion(vm)).pass > again.pass)
    assert.equal((await readRegion(vm)).wrong, 0)
    assert.equal(await sumsOf(vm), expected)
  })

  for (const point of interruptedFaults)
    it(`goes on when the daemon dies at ${point}`, async () => {
      await vm.pause({ toDisk: true })
      const expected = (await vm.refresh()).suspendedBytes
      assert.ok(expected !== undefined)
      await host.restart(`${point}=kill`)
      await vm.resume()
      assert.ok(killPageServer(host.dataDir))
      assert.deepEqual(await host.daemon.endsWithin(60_000), killed, `the fault at ${point} was reached`)
      await host.restart()
      await untilFilling()
      assert.equal((await readRegion(vm)).wrong, 0)
    })
})
