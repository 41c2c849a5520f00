import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { digestOfFiles } from '../../../guest/image/digest.ts'
import type { ImageManifest } from '../../../guest/image/manifest.ts'
import { createDisk } from '../../disk/create.ts'
import { readStamp } from '../../disk/file-stamp.ts'
import { readLayer } from '../../disk/layer.ts'
import { sealInPlace } from '../../disk/seal.ts'
import { RametError } from '../../shared/errors.ts'
import type { DiskRecord, Fingerprint } from '../records.ts'
import { Registry } from '../registry.ts'
import { TestEngine } from '../testing/test-engine.ts'
import { Fingerprints } from './fingerprints.ts'

/** An image with a kernel and a disk of 8 MiB, registered. */
async function makeImage(engine: TestEngine, imageId: string, fill: number): Promise<ImageManifest> {
  const dir = engine.context.paths.image(imageId)
  mkdirSync(dir, { recursive: true })
  writeFileSync(join(dir, 'kernel'), Buffer.alloc(1000, fill))
  const disk = join(dir, 'disk.qcow2')
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', disk, '8M'])
  execFileSync('qemu-io', ['-f', 'qcow2', '-c', `write -q -P ${fill} 1M 256k`, disk])
  await sealInPlace(disk, imageId)
  const files = Object.fromEntries(
    ['kernel', 'disk.qcow2'].map((name) => {
      const bytes = readFileSync(join(dir, name))
      return [name, { bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }]
    }),
  )
  const manifest: ImageManifest = {
    schemaVersion: 1,
    id: imageId,
    recipe: 'import',
    init: 'agent',
    kernelVersion: '6.1',
    cmdline: 'console=ttyS0 ramet.init=agent',
    disk: { virtualBytes: 8 * 1024 * 1024, format: 'qcow2' },
    createdAt: new Date(0).toISOString(),
    digest: digestOfFiles(files),
    agentDigest: '0'.repeat(64),
    files,
  }
  writeFileSync(join(dir, 'manifest.json'), JSON.stringify(manifest))
  const record = { schemaVersion: 1 as const, id: imageId, name: imageId.slice(4, 8), tag: 'latest', labels: {} }
  await engine.context.images.create({ ...record, createdAtMs: 0 })
  await engine.parts.fingerprints.recordImage(manifest)
  return manifest
}

const onImage = (imageId: string) => ({
  imageId,
  disks: [{ sizeBytes: 8 * 1024 * 1024, base: { owner: 'image' as const, ownerId: imageId, file: 'disk.qcow2' } }],
})

function flipBit(path: string, offset: number): void {
  const bytes = readFileSync(path)
  bytes.writeUInt8(bytes.readUInt8(offset) ^ 1, offset)
  chmodSync(path, 0o600)
  writeFileSync(path, bytes)
  chmodSync(path, 0o444)
}

/** Every way in which a file may turn into another; `other` is a file of the same kind and size. */
const damages: Record<string, (path: string, other: string) => void> = {
  'a bit that flipped': (path) => flipBit(path, 500),
  'an end cut off': (path) => execFileSync('truncate', ['-s', '-1', path]),
  'an exchange for another': (path, other) => {
    rmSync(path)
    copyFileSync(other, path)
    chmodSync(path, 0o444)
  },
  'a symbolic link to the very file': (path) => {
    renameSync(path, `${path}.there`)
    symlinkSync(`${path}.there`, path)
  },
  'a fifo': (path) => {
    rmSync(path)
    execFileSync('mkfifo', [path])
  },
  'its absence': (path) => rmSync(path),
}

async function refusal(work: Promise<unknown>): Promise<RametError> {
  const error = await work.then(
    () => assert.fail('it was accepted'),
    (reason: unknown) => reason,
  )
  assert.ok(error instanceof RametError && error.code === 'BASE_DAMAGED', String(error))
  return error
}

test('a file of an image that is not what it was is refused by name, until it is so again', async () => {
  await using engine = await TestEngine.open()
  const { fingerprints } = engine.parts
  const { id } = await makeImage(engine, 'img-aaaa00000000', 1)
  await makeImage(engine, 'img-bbbb00000000', 2)
  await fingerprints.check(onImage(id))
  for (const file of ['kernel', 'disk.qcow2']) {
    const path = join(engine.context.paths.image(id), file)
    const whole = readFileSync(path)
    for (const [what, damage] of Object.entries(damages)) {
      damage(path, join(engine.context.paths.image('img-bbbb00000000'), file))
      for (const attempt of ['read', 'remembered']) {
        const error = await refusal(fingerprints.check(onImage(id)))
        const label = `${what}, ${attempt}: ${error.message}`
        assert.match(error.message, new RegExp(`^${file} of image aaaa:latest is damaged: its? `), label)
        assert.match(error.remediation, /ramet image rm aaaa:latest/, label)
        assert.deepEqual(error.details.owner, { kind: 'image', id, name: 'aaaa:latest' }, label)
      }
      await fingerprints.check(onImage('img-bbbb00000000'))
      rmSync(path, { force: true })
      writeFileSync(path, whole)
      await fingerprints.check(onImage(id))
    }
  }
})

test('a file that was only touched is read once more and accepted', async () => {
  await using engine = await TestEngine.open()
  const { id } = await makeImage(engine, 'img-aaaa00000000', 1)
  const stored = () => Registry.open<Fingerprint>(engine.context.store, 'fingerprints', 'fingerprint', 'NOT_FOUND')
  const path = join(engine.context.paths.image(id), 'disk.qcow2')
  const before = (await stored()).find(`${id}/disk.qcow2`)
  chmodSync(path, 0o644)
  await engine.parts.fingerprints.check(onImage(id))
  const after = (await stored()).find(`${id}/disk.qcow2`)
  assert.deepEqual({ ...after, stamp: undefined }, { ...before, stamp: undefined })
  assert.notDeepEqual(after.stamp, before.stamp)
  assert.deepEqual(after.stamp, readStamp(path))
})

test('an image whose manifest was changed along with its files is still not what it was', async () => {
  await using engine = await TestEngine.open()
  const manifest = await makeImage(engine, 'img-aaaa00000000', 1)
  flipBit(join(engine.context.paths.image(manifest.id), 'kernel'), 0)
  const bytes = readFileSync(join(engine.context.paths.image(manifest.id), 'kernel'))
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  const forged = { ...manifest, files: { ...manifest.files, kernel: { bytes: bytes.length, sha256 } } }
  await refusal(engine.parts.fingerprints.recordImage(forged))
  await engine.parts.fingerprints.forget(manifest.id)
  await engine.parts.fingerprints.recordImage(forged)
})

test('a disk of a template is refused for its own damage and for that of what it stands on', async () => {
  await using engine = await TestEngine.open()
  const { fingerprints } = engine.parts
  const { id: imageId } = await makeImage(engine, 'img-aaaa00000000', 1)
  const [warm, other] = [await engine.createTemplate('warm'), await engine.createTemplate('other')]
  const diskOf = (templateId: string) => join(engine.context.paths.template(templateId), 'disk0.qcow2')
  const base = await readLayer(join(engine.context.paths.image(imageId), 'disk.qcow2'))
  for (const { id } of [warm, other]) {
    await createDisk({ path: diskOf(id), base })
    await sealInPlace(diskOf(id), `base-${id.slice(4)}-0`)
  }
  const disksOf = (ownerId: string): DiskRecord[] => [
    { sizeBytes: 8 * 1024 * 1024, base: { owner: 'template', ownerId, file: 'disk0.qcow2' } },
  ]
  for (const { id } of [warm, other]) await fingerprints.recordTemplate(id, disksOf(id))
  const standing = { imageId, disks: disksOf(warm.id) }
  await fingerprints.check(standing)
  const whole = readFileSync(diskOf(warm.id))
  for (const [what, damage] of Object.entries(damages)) {
    damage(diskOf(warm.id), diskOf(other.id))
    const error = await refusal(fingerprints.check(standing))
    assert.match(error.message, /^disk0.qcow2 of template warm is damaged: its? /, what)
    assert.match(error.remediation, /ramet template rm warm/, what)
    rmSync(diskOf(warm.id), { force: true })
    writeFileSync(diskOf(warm.id), whole)
    await fingerprints.check(standing)
  }
  flipBit(base.path, 500)
  assert.match(
    (await refusal(fingerprints.check({ ...standing, imageId: 'img-0123456789ab' }))).message,
    /of image aaaa/,
  )
  await fingerprints.forget(warm.id)
  await refusal(fingerprints.check(standing))
})

test('what changed behind the stamp is found when all is read again after a restart of the host', async () => {
  await using engine = await TestEngine.open()
  const { context } = engine
  const { id } = await makeImage(engine, 'img-aaaa00000000', 1)
  const path = join(context.paths.image(id), 'disk.qcow2')
  flipBit(path, 500)
  const stored = await Registry.open<Fingerprint>(context.store, 'fingerprints', 'fingerprint', 'NOT_FOUND')
  await stored.update(`${id}/disk.qcow2`, { stamp: readStamp(path), bootId: 'of an earlier boot' })
  const fingerprints = new Fingerprints(context, engine.parts.images)
  await fingerprints.check(onImage(id))
  await fingerprints.verifyOlder(AbortSignal.abort())
  await fingerprints.check(onImage(id))
  await fingerprints.verifyOlder(new AbortController().signal)
  await refusal(fingerprints.check(onImage(id)))
})

test('a stopped vm’s disk that was made over another base of the same size is refused', async () => {
  await using engine = await TestEngine.open()
  const { context } = engine
  const [{ id: one }, { id: other }] = [
    await makeImage(engine, 'img-aaaa00000000', 1),
    await makeImage(engine, 'img-bbbb00000000', 2),
  ]
  const vm = { id: 'vm-test', disks: onImage(one).disks }
  const path = join(context.paths.vm(vm.id), 'disk0.qcow2')
  mkdirSync(dirname(path))
  await engine.parts.fingerprints.checkDeltas(vm)
  await createDisk({ path, base: await readLayer(join(context.paths.image(one), 'disk.qcow2')) })
  await engine.parts.fingerprints.checkDeltas(vm)
  copyFileSync(join(context.paths.image(other), 'disk.qcow2'), join(context.paths.image(one), 'exchanged'))
  chmodSync(join(context.paths.image(one), 'exchanged'), 0o444)
  renameSync(join(context.paths.image(one), 'exchanged'), join(context.paths.image(one), 'disk.qcow2'))
  const error = await refusal(engine.parts.fingerprints.checkDeltas(vm))
  assert.match(error.message, /is img-bbbb00000000, but .* was made over img-aaaa00000000/)
})

test('looking at an unchanged base reads nothing of it', async () => {
  await using engine = await TestEngine.open()
  const { id } = await makeImage(engine, 'img-aaaa00000000', 1)
  const path = join(engine.context.paths.image(id), 'disk.qcow2')
  const before = readStamp(path)
  // Its content is out of reach: only a look at the stamp can succeed.
  rmSync(path)
  execFileSync('truncate', ['-s', String(before.sizeBytes), path])
  const stored = await Registry.open<Fingerprint>(engine.context.store, 'fingerprints', 'fingerprint', 'NOT_FOUND')
  await stored.update(`${id}/disk.qcow2`, { stamp: readStamp(path) })
  await new Fingerprints(engine.context, engine.parts.images).check(onImage(id))
})
