import assert from 'node:assert/strict'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { createDisk } from '../../disk/create.ts'
import { readLayer } from '../../disk/layer.ts'
import { sealInPlace } from '../../disk/seal.ts'
import { diskFile } from '../../fork/disk-file.ts'
import { newId } from '../../shared/ids.ts'
import { StatsReader } from '../host/stats.ts'
import type { DiskRecord } from '../records.ts'
import { TestEngine } from '../testing/test-engine.ts'
import { readLayers } from './layers.ts'

const virtualBytes = 1024 * 1024

async function sealed(path: string, below?: string): Promise<string> {
  await createDisk({ path, virtualBytes, ...(below === undefined ? {} : { base: await readLayer(below) }) })
  await sealInPlace(path, newId('base'))
  return path
}

/** A template whose disk stands on one of the image, and vms of both; one of them has its delta. */
async function family(engine: TestEngine) {
  const { context } = engine
  const template = await engine.createTemplate('warm')
  const imagePath = await sealed(join(context.paths.image(template.imageId), 'root.qcow2'))
  const templatePath = await sealed(join(context.paths.template(template.id), diskFile(0)), imagePath)
  const ofImage: DiskRecord = {
    sizeBytes: virtualBytes,
    base: { owner: 'image', ownerId: template.imageId, file: 'root.qcow2' },
  }
  const ofTemplate: DiskRecord = {
    sizeBytes: virtualBytes,
    base: { owner: 'template', ownerId: template.id, file: diskFile(0) },
  }
  await context.templates.update(template.id, { disks: [ofTemplate] })
  const vm = async (name: string, disk: DiskRecord) =>
    context.vms.update((await engine.createVm({ name, start: false })).id, { disks: [disk] })
  const [first, second, booted] = [
    await vm('child-10', ofTemplate),
    await vm('child-2', ofTemplate),
    await vm('web', ofImage),
  ]
  await mkdir(context.paths.vm(first.id), { recursive: true })
  await createDisk({ path: join(context.paths.vm(first.id), diskFile(0)), base: await readLayer(templatePath) })
  return { template, first, second, booted, templatePath }
}

test('a disk is told from its own delta down, each file with its owner and who else stands on it', async () => {
  await using engine = await TestEngine.open()
  const { vms, paths } = engine.context
  const { first, template } = await family(engine)
  const { memory, disks } = await readLayers(engine.parts, vms.find(first.id), new StatsReader(engine.parts))
  assert.deepEqual(memory, [], 'it does not run')
  const [disk] = disks
  assert.equal(disk?.name, 'vda')
  assert.deepEqual(
    disk?.layers.map(({ role, owner, path, users }) => [role, owner.kind, owner.name, path, users]),
    [
      ['delta', 'vm', 'child-10', join(paths.vm(first.id), diskFile(0)), undefined],
      ['base', 'template', 'warm', join(paths.template(template.id), diskFile(0)), ['child-2']],
      ['base', 'image', 'tiny:latest', join(paths.image(template.imageId), 'root.qcow2'), ['child-2', 'web', 'warm']],
    ],
  )
  for (const layer of disk?.layers ?? []) assert.ok(layer.allocatedBytes > 0, layer.path)
})

test('a delta that is lent is a frozen layer of the catalogue, under its vm and under who stands on it', async () => {
  await using engine = await TestEngine.open()
  const { context, deltas } = engine.parts
  const { first, second } = await family(engine)
  const file = (id: string, level: number) => join(context.paths.vm(id), diskFile(0, level))
  await createDisk({ path: file(first.id, 1), base: await readLayer(file(first.id, 0)) })
  const delta = await deltas.lend(first.id, 0)
  await mkdir(context.paths.vm(second.id), { recursive: true })
  await createDisk({ path: file(second.id, 0), base: await readLayer(context.paths.delta(delta)) })
  const [disk] = second.disks
  assert.ok(disk)
  await context.vms.update(second.id, { disks: [{ ...disk, frozen: [delta] }] })
  const layersOf = async (ref: string) => {
    const { disks } = await readLayers(engine.parts, context.vms.find(ref), new StatsReader(engine.parts))
    assert.equal(disks[0]?.problem, undefined)
    return disks[0]?.layers.slice(0, 2).map(({ role, owner, users }) => [role, owner.id, users])
  }
  assert.deepEqual(await layersOf('child-10'), [
    ['delta', first.id, undefined],
    ['frozen', delta, ['child-2']],
  ])
  assert.deepEqual(await layersOf('child-2'), [
    ['delta', second.id, undefined],
    ['frozen', delta, ['child-10']],
  ])
})

test('a disk that was never made has no layers, and one whose base is gone says so', async () => {
  await using engine = await TestEngine.open()
  const { first, second, templatePath } = await family(engine)
  const stats = new StatsReader(engine.parts)
  assert.deepEqual((await readLayers(engine.parts, second, stats)).disks, [{ name: 'vda', layers: [] }])
  await rm(templatePath)
  const { disks } = await readLayers(engine.parts, first, stats)
  assert.match(disks[0]?.problem ?? '', /is missing/)
})
