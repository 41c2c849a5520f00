import assert from 'node:assert/strict'
import { link, readdir, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { test } from 'node:test'
import { isRametError } from '../shared/errors.ts'
import { newId } from '../shared/ids.ts'
import { openChain } from './chain.ts'
import { cloneDisk } from './clone.ts'
import { createDisk } from './create.ts'
import { readLayer } from './layer.ts'
import { sealDelta, sealInPlace, unsealDisk } from './seal.ts'
import { makeTemplateDisk, planTemplateDisk, type TemplateDiskMethod } from './template-disk.ts'
import { deltaOver, qemuImg, qemuIo, readAlike, sealedImage, type TestHome, withHome } from './test-disks.ts'

/** Makes a template of a disk; returns what a child's disk is like. */
async function templateOf(home: TestHome, disk: string, owner: string, flattenMaxBytes: number) {
  const chain = await openChain(disk, home.roots)
  const plan = await planTemplateDisk(chain, flattenMaxBytes)
  const to = await home.path('templates', owner)
  const path = await makeTemplateDisk({ chain, plan, to, id: newId('base') })
  return { plan, base: await readLayer(path) }
}

test('an unwritten delta is passed over: children stand on the first non-empty disk', () =>
  withHome(async (home) => {
    const image = await sealedImage(home)
    const { plan, base } = await templateOf(home, await deltaOver(home, image), 'tpl-a', 0)
    assert.deepEqual(plan, { method: 'share', writtenBytes: 0, childDepth: 2 })
    assert.equal(base.path, image.path)
    assert.deepEqual(await readdir(dirname(await home.path('templates', 'tpl-a'))), [])
  }))

test('explicit zeros alone make a delta non-empty', () =>
  withHome(async (home) => {
    const delta = await deltaOver(home, await sealedImage(home))
    await qemuIo(delta, ['write -z -u 0 1M'])
    const { plan } = await templateOf(home, delta, 'tpl-a', 0)
    assert.equal(plan.method, 'seal')
  }))

for (const [name, flattenMaxBytes, methods, depth] of [
  ['flattened', 2 ** 30, ['flatten', 'flatten', 'flatten', 'flatten'], 2],
  ['sealed or merged', 0, ['seal', 'merge', 'merge', 'merge'], 3],
] as const satisfies [string, number, TemplateDiskMethod[], number][]) {
  test(`over four generations, ${name}, depth stays and every byte is inherited`, () =>
    withHome(async (home) => {
      let base = await sealedImage(home)
      let disk = await deltaOver(home, base, 'vm-0')
      // the same writes on one plain disk are the judge
      const judge = await home.path('vms', 'judge')
      await createDisk({ path: judge, base })
      for (const [generation, method] of methods.entries()) {
        const writes = [
          `write -P ${generation + 10} ${generation}M 3M`,
          `write -z -u ${8 + generation}M 512k`,
          `discard ${20 - generation}M 1M`,
          `write -P ${generation + 20} ${30 + generation * 2}M 64k`,
        ]
        await qemuIo(disk, writes)
        await qemuIo(judge, writes)
        const template = await templateOf(home, disk, `tpl-${generation}`, flattenMaxBytes)
        assert.equal(template.plan.method, method)
        assert.equal(template.base.mode, 0o444)
        await qemuImg('check', '-q', template.base.path)
        base = template.base
        disk = await deltaOver(home, base, `vm-${generation + 1}`)
        const chain = await openChain(disk, home.roots)
        assert.equal(chain.layers.length, depth)
        assert.equal(template.plan.childDepth, depth)
        assert.ok(await readAlike(disk, judge), `generation ${generation}`)
        const left = await readdir(dirname(base.path))
        assert.deepEqual(left, ['disk0.qcow2'])
      }
    }))
}

test('a flattened template needs nothing of what it came from', () =>
  withHome(async (home) => {
    const image = await sealedImage(home)
    const delta = await deltaOver(home, image)
    await qemuIo(delta, ['write -P 5 1M 1M'])
    const { base } = await templateOf(home, delta, 'tpl-a', 2 ** 30)
    await rm(delta)
    await rm(image.path)
    const child = await deltaOver(home, base, 'vm-b')
    await qemuIo(child, ['read -P 1 0 1M', 'read -P 5 1M 1M', 'read -P 2 8M 3M'])
  }))

test('a child copied from a child stands where its parent stands, whatever becomes of the parent', () =>
  withHome(async (home) => {
    const image = await sealedImage(home)
    const parent = await deltaOver(home, image, 'vm-0')
    let from = parent
    for (let generation = 1; generation <= 5; generation += 1) {
      await qemuIo(from, [`write -P ${generation} ${generation + 20}M 1M`])
      const to = await home.path('vms', `vm-${generation}`)
      await cloneDisk({ from, to, reflink: true })
      await rm(from)
      assert.equal((await openChain(to, home.roots)).layers.length, 2)
      from = to
    }
    await qemuIo(
      from,
      [1, 2, 3, 4, 5].map((generation) => `read -P ${generation} ${generation + 20}M 1M`),
    )
  }))

test('sealing can be repeated after a crash at any step, or undone', () =>
  withHome(async (home) => {
    const image = await sealedImage(home)
    const from = await deltaOver(home, image)
    await qemuIo(from, ['write -P 5 1M 1M'])
    const to = await home.path('templates', 'tpl-a')
    const id = newId('base')
    await rename(from, to)
    await sealDelta(from, to, id)
    await sealDelta(from, to, id)
    assert.equal((await readLayer(to)).header.identity.own, id)
    await assert.rejects(sealInPlace(to, newId('base')), (error) => isRametError(error, 'IN_USE'))
    await unsealDisk(to, from)
    await unsealDisk(to, from)
    const again = await readLayer(from)
    assert.deepEqual([again.mode, again.header.identity], [0o600, { base: image.header.identity.own }])
    await qemuIo(from, ['write -P 6 1M 1M'])
    await openChain(from, home.roots)
    await assert.rejects(stat(to))

    await link(from, `${from}.second`)
    await assert.rejects(sealDelta(from, to, id), (error) => isRametError(error, 'IN_USE'))
  }))

test('an aborted flattening leaves nothing', () =>
  withHome(async (home) => {
    const delta = await deltaOver(home, await sealedImage(home))
    await qemuIo(delta, ['write -P 5 0 60M'])
    const chain = await openChain(delta, home.roots)
    const plan = await planTemplateDisk(chain)
    const to = await home.path('templates', 'tpl-a')
    const controller = new AbortController()
    const reason = new Error('enough')
    const making = makeTemplateDisk({
      chain,
      plan,
      to,
      id: newId('base'),
      signal: controller.signal,
      onPercent: () => controller.abort(reason),
    })
    await assert.rejects(making, reason)
    assert.deepEqual(await readdir(dirname(to)), [])
  }))
