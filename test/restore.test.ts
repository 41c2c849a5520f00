import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { Vm } from '../src/client/index.ts'
import { count, startCounter } from './support/counter.ts'
import { Host } from './support/host.ts'

const MiB = 1024 * 1024

/** What is in memory, and the disk as the host has it. */
const sumsOf = async (vm: Vm) =>
  (await vm.commands.run('md5sum < /tmp/ballast; echo 1 > /proc/sys/vm/drop_caches; md5sum < /dev/vda')).stdout

/** A child of a template, so that its memory and its disk stand on something. Nothing of it is fetched unasked. */
describe('a vm whose memory still comes', () => {
  let host: Host
  let vm: Vm
  let counted = 0

  before(async () => {
    host = await Host.start({ environment: { RAMET_RESTORE_FILL: 'none', RAMET_RESTORE_POLICY: 'none' } })
    const parent = await host.boot({ name: 'parent', memoryBytes: 128 * MiB, disks: [{ sizeBytes: 8 * MiB }] })
    await parent.commands.run('dd if=/dev/urandom of=/tmp/parents bs=1M count=24 2>/dev/null')
    const { template } = await host.ramet.templates.create({ from: 'vm', vm: parent.id, name: 'warm' })
    ;[vm] = (await template.forkAll({ names: ['sleeper'] })) as [Vm]
    await vm.commands.run(
      'for file in /tmp/ballast /dev/vda; do dd if=/dev/urandom of=$file bs=1M count=4 2>/dev/null; done; sync',
    )
    await startCounter(vm)
  })
  after(() => host.close())

  /** Brings it into that state. */
  async function fill(): Promise<string> {
    const expected = await sumsOf(vm)
    await vm.pause({ toDisk: true })
    await vm.resume()
    assert.equal((await vm.refresh()).restore?.state, 'filling')
    return expected
  }

  async function assertSame(expected: string, of = vm): Promise<void> {
    assert.equal(await sumsOf(of), expected)
    counted += of === vm ? 1 : 0
    assert.equal(await count(of, 'x'), of === vm ? `${counted} x` : `${counted + 1} x`)
  }

  it('has a file without what is in the base of its template', async () => {
    await vm.pause({ toDisk: true })
    const { suspendedBytes } = await vm.refresh()
    assert.ok(suspendedBytes !== undefined && suspendedBytes < 20 * MiB, `${suspendedBytes} bytes`)
    await assert.rejects((await host.ramet.templates.get('warm')).remove(), { code: 'IN_USE' })
    await vm.resume()
    const sum = async () => (await vm.commands.run('md5sum < /tmp/parents')).stdout
    const [child] = await (await host.ramet.templates.get('warm')).forkAll({ names: ['sibling'] })
    assert.equal(await sum(), (await child?.commands.run('md5sum < /tmp/parents'))?.stdout)
    await child?.remove({ force: true })
  })

  it('runs commands, and tells what that cost', async () => {
    await assertSame(await fill())
    const { restore } = await vm.refresh()
    const { atReady, atFirstExec, now } = restore ?? {}
    assert.ok(atReady !== undefined && atFirstExec !== undefined && now !== undefined)
    assert.ok(atReady.demandFaults > 0)
    assert.ok(atReady.sentPages <= atFirstExec.sentPages && atFirstExec.sentPages <= now.sentPages)
    assert.ok(now.sentPages < now.neededPages, 'what nobody needs has not come')
    assert.ok(host.events.some(({ type, data }) => type === 'vm.restore' && data.state === 'filling'))
  })

  it('is paused and resumed at once', async () => {
    const expected = await fill()
    await vm.pause()
    assert.equal((await vm.refresh()).restore?.state, 'filling')
    await vm.resume()
    await assertSame(expected)
  })

  it('is whole before it is forked, and its children stand on disks of depth two', async () => {
    const expected = await fill()
    const [child] = await vm.forkAll({ names: ['child'] })
    assert.ok(child)
    assert.equal((await vm.refresh()).restore?.state, 'done')
    await assertSame(expected, child)
    const { disk } = await child.stats()
    assert.ok(disk.chainDepth <= 2, `depth ${disk.chainDepth}`)
    await child.remove({ force: true })
    await assertSame(expected)
  })

  it('is whole before a snapshot is made of it', async () => {
    const expected = await fill()
    const snapshot = await vm.snapshot({ name: 'moment' })
    assert.equal((await vm.refresh()).restore?.state, 'done')
    await assertSame(expected)
    await snapshot.remove()
  })

  it('goes back to disk, whole', async () => {
    const expected = await fill()
    await vm.pause({ toDisk: true })
    await vm.resume()
    await assertSame(expected)
  })

  it('is ended at once, and boots from its disk as it was', async () => {
    await fill()
    await vm.kill()
    assert.equal((await vm.refresh()).restore, undefined)
    await vm.start()
    await vm.commands.run('dd if=/dev/urandom of=/tmp/ballast bs=1M count=4 2>/dev/null; sync')
  })

  it('shuts down', async () => {
    await fill()
    await vm.stop()
    assert.equal(vm.state, 'stopped')
    await vm.start()
    await vm.commands.run('dd if=/dev/urandom of=/tmp/ballast bs=1M count=4 2>/dev/null; sync')
  })

  it('becomes a template, whole', async () => {
    const expected = await fill()
    const { template } = await host.ramet.templates.create({ from: 'vm', vm: vm.id, name: 'again' })
    const [child] = await template.forkAll({ names: ['of-again'] })
    assert.ok(child)
    assert.equal(await sumsOf(child), expected)
  })
})
