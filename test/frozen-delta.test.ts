import assert from 'node:assert/strict'
import { existsSync, readdirSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, beforeEach, describe, it } from 'node:test'
import type { Vm } from '../src/client/index.ts'
import { Host } from './support/host.ts'
import { buildSums, type Sums } from './support/sums.ts'

const MiB = 1024 * 1024

// Larger than what a fork copies byte by byte, so that children stand on the frozen delta at first; and collapsed
// so slowly that a test can do something meanwhile.
const deltaMiB = 36

const write = (vm: Vm, seekMiB: number, countMiB: number) =>
  vm.commands.run(`dd if=/dev/urandom of=/dev/vda bs=1M seek=${seekMiB} count=${countMiB} conv=fsync 2>/dev/null`)

async function forkOne(vm: Vm, name: string): Promise<Vm> {
  const [child] = await vm.forkAll({ names: [name] })
  assert.ok(child)
  return child
}

describe('a vm with a large disk delta, where the file system cannot share blocks', () => {
  let host: Host
  let parent: Vm
  let sums: Sums

  /** Of what the disk holds, not of what the guest remembers of it. */
  const sum = (vm: Vm) => sums(vm, '/dev/vda')
  const lentCount = () => readdirSync(join(host.dataDir, 'deltas')).length
  const depthOf = async (vm: Vm) => (await vm.stats()).disk.chainDepth
  const atRest = () =>
    host.until('no frozen delta is left', async () => {
      const vms = await host.ramet.vms.list()
      const depths = await Promise.all(vms.map(depthOf))
      return lentCount() === 0 && depths.every((depth) => depth <= 1)
    })

  before(async () => {
    sums = await buildSums()
    host = await Host.start({ environment: { RAMET_COLLAPSE_MIB_PER_SECOND: '16' } })
    parent = await host.ramet.vms.create({ name: 'parent', image: 'micro', disks: [{ sizeBytes: 64 * MiB }] })
    await write(parent, 0, deltaMiB)
    // Explicit zeros and discards of what lies below must stay zeros.
    await parent.commands.run('dd if=/dev/zero of=/dev/vda bs=1M seek=8 count=1 2>/dev/null; sync')
  })
  beforeEach(async () => {
    for (const vm of await host.ramet.vms.list()) if (vm.name !== 'parent') await vm.remove({ force: true })
    await atRest()
  })
  after(() => host.close())

  it('lends it to its children, who stand on it until each has collapsed it; then it has it back', async () => {
    const expected = await sum(parent)
    const children = await parent.forkAll({ count: 2, namePrefix: 'child' })
    assert.equal(lentCount(), 1, 'the children share one frozen delta')
    await write(parent, 3, 2)
    const later = await sum(parent)
    for (const child of children) assert.equal(await sum(child), expected)
    await atRest()
    assert.equal(await sum(parent), later)
    for (const child of children) assert.equal(await sum(child), expected)
    // Nothing was flushed by a guest since: what was collapsed or committed must be in the files all the same.
    for (const vm of [parent, ...children]) {
      await vm.kill()
      await vm.start()
    }
    assert.equal(await sum(parent), later)
    for (const child of children) assert.equal(await sum(child), expected)
  })

  it('can be forked again before that, and so can its children while they collapse', async () => {
    const expected = await sum(parent)
    const first = await forkOne(parent, 'first')
    await write(parent, 5, 1)
    const later = await sum(parent)
    const second = await forkOne(parent, 'second')
    await write(first, 7, 1)
    const changed = await sum(first)
    const grandchild = await forkOne(first, 'grandchild')
    for (const vm of await host.ramet.vms.list()) {
      const depth = await depthOf(vm)
      assert.ok(depth <= 4, `${vm.name} has depth ${depth}`)
    }
    assert.equal(await sum(second), later)
    assert.equal(await sum(grandchild), changed)
    await atRest()
    assert.notEqual(changed, expected)
    const sums = await Promise.all([parent, first, second, grandchild].map(sum))
    assert.deepEqual(sums, [later, changed, later, changed])
  })

  it('can be removed meanwhile: the delta outlives it for as long as it is read', async () => {
    const source = await forkOne(parent, 'source')
    await atRest()
    await write(source, 20, 1)
    const expected = await sum(source)
    const child = await forkOne(source, 'child')
    await source.remove({ force: true })
    assert.equal(lentCount(), 1)
    assert.equal(await sum(child), expected)
    await atRest()
    assert.equal(await sum(child), expected)
  })

  it('can be stopped and started again meanwhile, and so can its children', async () => {
    const source = await forkOne(parent, 'source')
    await atRest()
    await write(source, 21, 1)
    const child = await forkOne(source, 'child')
    await write(source, 22, 1)
    await write(child, 23, 1)
    const [sourceSum, childSum] = [await sum(source), await sum(child)]
    await Promise.all([source.stop(), child.stop({ force: true, timeoutMs: 5000 })])
    await source.start()
    assert.equal(await sum(source), sourceSum)
    await child.start()
    assert.equal(await sum(child), childSum)
    await atRest()
    assert.deepEqual([await sum(source), await sum(child)], [sourceSum, childSum])
    await source.stop()
    await writeFile(join(host.dataDir, 'vms', source.id, 'disk0.qcow2'), 'nonsense')
    assert.equal(await sum(child), childSum, 'what happens to the other’s file is nothing to it')
  })

  it('becomes a template meanwhile, or is cloned, and depends on nobody then', async () => {
    const source = await forkOne(parent, 'source')
    await atRest()
    await write(source, 24, 1)
    const child = await forkOne(source, 'child')
    const expected = await sum(child)
    await child.stop()
    const clone = await child.clone({ name: 'clone', start: true })
    assert.equal(await sum(clone), expected)
    const { template } = await host.ramet.templates.create({ from: 'vm', vm: source.id, name: 'tpl' })
    const [fromTemplate] = await template.forkAll({ names: ['from-template'] })
    assert.ok(fromTemplate)
    assert.equal(await sum(fromTemplate), expected)
    await fromTemplate.remove({ force: true })
    await template.remove()
    await clone.remove({ force: true })
  })

  it('is brought to rest by the next daemon when this one is killed meanwhile', async () => {
    const expected = await sum(parent)
    const child = await forkOne(parent, 'child')
    await write(parent, 9, 1)
    const later = await sum(parent)
    await host.restart()
    assert.equal(await sum(child), expected)
    await atRest()
    assert.deepEqual([await sum(parent), await sum(child)], [later, expected])
    assert.ok(existsSync(join(host.dataDir, 'deltas')))
  })
})
