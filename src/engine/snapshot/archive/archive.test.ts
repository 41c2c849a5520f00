import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmod, mkdir, open, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { FileSource } from '../../../checkpoint/file/range-source.ts'
import { Checkpoint } from '../../../checkpoint/file/read.ts'
import { writeWorkingSets } from '../../../checkpoint/file/working-set.ts'
import { createDisk } from '../../../disk/create.ts'
import { qemuIo } from '../../../disk/test-disks.ts'
import { isRametError, type RametError } from '../../../shared/errors.ts'
import { ImageService } from '../../image/image-service.ts'
import type { Fingerprint, SnapshotRecord } from '../../records.ts'
import { Registry } from '../../registry.ts'
import { takenOf } from '../../testing/snapshots.ts'
import { TestEngine } from '../../testing/test-engine.ts'
import { saveMemory } from '../save-memory.ts'
import { archivedVm, encodeManifest } from './archive-manifest.ts'
import { exportSnapshot } from './export-snapshot.ts'
import { importSnapshot } from './import-snapshot.ts'
import { blockBytes, decodeTarHeader, entryBytes } from './tar.ts'

const run = promisify(execFile)
const MiB = 1024 * 1024
const handle = { id: 'op-1', signal: new AbortController().signal, progress: () => {} }

/** A snapshot of a vm with a disk, which needs no template. */
async function saved(engine: TestEngine, full = true): Promise<SnapshotRecord> {
  const { taken, path } = await takenOf(engine)
  const { context } = engine
  const id = taken.record.id
  const disk = join(context.paths.snapshot(id), 'disk0.qcow2')
  await createDisk({ path: disk, virtualBytes: 4 * MiB })
  await qemuIo(disk, ['write -P 3 0 64k'])
  const machine = { ...taken.record.vm.machine, diskCount: 1, nicCount: 1 }
  const vm = { ...taken.record.vm, state: 'running' as const, machine, disks: [{ sizeBytes: 4 * MiB }] }
  const record = await context.snapshots.update(id, { vm })
  await engine.parts.fingerprints.recordSnapshot(id, 1)
  const facts = await saveMemory(context, { ...taken, record, full }, handle)
  const digest = facts.checkpoint?.digest ?? ''
  await writeWorkingSets(path, digest, [{ recordedAt: new Date(0), pages: Uint32Array.of(8, 0) }])
  return context.snapshots.update(id, { ...facts, state: 'ready', labels: { job: 'test' } })
}

async function exported(engine: TestEngine, snapshot: SnapshotRecord): Promise<Buffer> {
  const { body, sizeBytes } = await exportSnapshot(engine.parts, snapshot)
  const bytes = await buffer(body)
  assert.equal(bytes.length, sizeBytes)
  return bytes
}

/** In pieces of a size that fits nothing. */
async function* pieces(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += 7777) yield bytes.subarray(at, at + 7777)
}

const importing = async (engine: TestEngine, bytes: Buffer, name?: string) =>
  (await importSnapshot(engine.parts, name === undefined ? {} : { name }, pieces(bytes))).done

async function refusal(engine: TestEngine, bytes: Buffer): Promise<RametError> {
  const before = [await readdir(engine.context.paths.snapshotsDir), engine.context.snapshots.list().length]
  const error: unknown = await importing(engine, bytes, 'imported').catch((thrown: unknown) => thrown)
  assert.ok(isRametError(error), `it was taken: ${String(error)}`)
  const after = [await readdir(engine.context.paths.snapshotsDir), engine.context.snapshots.list().length]
  assert.deepEqual(after, before, 'nothing is left behind')
  return error
}

test('what was exported is imported on another host, file by file the same', async () => {
  await using here = await TestEngine.open()
  await using there = await TestEngine.open()
  const snapshot = await saved(here)
  const bytes = await exported(here, snapshot)
  assert.equal(here.parts.uses.isHeld(snapshot.id), false, 'it is let go of')
  const view = await importing(there, bytes)
  assert.deepEqual([view.name, view.state, view.labels, view.workingSetPages], ['saved', 'ready', { job: 'test' }, 2])
  const imported = there.context.snapshots.find(view.id)
  const dirs = [here.context.paths.snapshot(snapshot.id), there.context.paths.snapshot(imported.id)] as const
  const names = (await readdir(dirs[0])).sort()
  assert.deepEqual((await readdir(dirs[1])).sort(), names)
  for (const name of names)
    assert.ok((await readFile(join(dirs[0], name))).equals(await readFile(join(dirs[1], name))), name)
  assert.deepEqual(imported.vm, snapshot.vm)
  assert.deepEqual(imported.checkpoint, snapshot.checkpoint)
  assert.deepEqual(imported.memory, snapshot.memory)
  await assert.rejects(importing(there, bytes), (error) => isRametError(error, 'NAME_TAKEN'))
  assert.equal((await importing(there, bytes, 'second')).name, 'second')
})

test('any tar lists and unpacks it', async () => {
  await using engine = await TestEngine.open()
  const snapshot = await saved(engine)
  const file = join(engine.context.paths.cacheDir, 'a.tar')
  await writeFile(file, await exported(engine, snapshot))
  const { stdout } = await run('tar', ['tf', file])
  assert.deepEqual(stdout.trim().split('\n'), [
    'snapshot.json',
    'memory.ckpt',
    'memory.ckpt.working-set',
    'disk0.qcow2',
    'digests.json',
  ])
  const unpacked = await run('tar', ['xOf', file, 'disk0.qcow2'], { encoding: 'buffer', maxBuffer: 64 * MiB })
  assert.ok(unpacked.stdout.equals(await readFile(join(engine.context.paths.snapshot(snapshot.id), 'disk0.qcow2'))))
  assert.doesNotMatch((await readFile(file)).toString('latin1'), new RegExp(engine.context.paths.dataDir))
})

test('an archive that is cut short, longer, or altered anywhere is refused, and nothing of it is kept', async () => {
  await using engine = await TestEngine.open()
  const bytes = await exported(engine, await saved(engine))
  let seed = 0x5eed
  const random = (below: number) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
    return seed % below
  }
  for (let round = 0; round < 24; round += 1) {
    const at = round < 8 ? random(bytes.length) : 512 * random(bytes.length / 512)
    await refusal(engine, bytes.subarray(0, at))
  }
  for (let round = 0; round < 60; round += 1) {
    const altered = Buffer.from(bytes)
    // The beginning and the end are dense with what decides.
    const at = [random(8192), bytes.length - 1 - random(4096), random(bytes.length)][round % 3] ?? 0
    altered[at] = (altered[at] ?? 0) ^ (1 << random(8))
    await refusal(engine, altered)
  }
  const longer = await refusal(engine, Buffer.concat([bytes, Buffer.alloc(512)]))
  assert.equal(longer.code, 'CHECKPOINT_DAMAGED')
  assert.equal((await importing(engine, bytes, 'imported')).state, 'ready')
})

test('what it stands on and is not here is named, with the remedy', async () => {
  await using here = await TestEngine.open()
  await using there = await TestEngine.open()
  const bytes = await exported(here, await saved(here, false))
  const template = await refusal(there, bytes)
  assert.equal(template.code, 'CHECKPOINT_UNFIT')
  assert.match(`${template.message} ${template.remediation}`, /needs that of template warm.*not here.*--full/)
  const { imageId } = here.context.snapshots.find('saved').vm
  await there.context.images.remove(imageId)
  const image = await refusal(there, bytes)
  assert.equal(image.code, 'IMAGE_NOT_FOUND')
  assert.match(image.message, /image tiny:latest/)
  // Here everything is: that very template is found again.
  const view = await importing(here, bytes, 'again')
  assert.equal(view.templateId, here.context.templates.find('warm').id)
})

/** With a byte of a file altered, and the digest of that file to fit. */
function forged(bytes: Buffer, file: string, at: number): Buffer {
  const altered = Buffer.from(bytes)
  const contents = new Map<string, Buffer>()
  for (let position = 0; ; ) {
    const entry = decodeTarHeader(altered.subarray(position, position + blockBytes))
    if (entry === undefined) break
    contents.set(entry.name, altered.subarray(position + blockBytes, position + blockBytes + entry.sizeBytes))
    position += entryBytes(entry.sizeBytes)
  }
  const [content, digests] = [contents.get(file), contents.get('digests.json')]
  assert.ok(content !== undefined && digests !== undefined)
  const sha256 = () => createHash('sha256').update(content).digest('hex')
  const before = digests.indexOf(sha256())
  assert.ok(before > 0)
  content[at] = (content[at] ?? 0) ^ 0xff
  digests.write(sha256(), before)
  return altered
}

/** Writes into a file that is read-only, as a stray process of root would. */
async function alter(path: string, at: number): Promise<() => Promise<void>> {
  const whole = await readFile(path)
  await chmod(path, 0o600)
  await using file = await open(path, 'r+')
  await file.write(Buffer.from([(whole[at] ?? 0) ^ 0xff]), 0, 1, at)
  return () => writeFile(path, whole)
}

test('an altered disk is refused before a byte of it is exported, until the file is as it was', async () => {
  await using engine = await TestEngine.open()
  const snapshot = await saved(engine)
  const dir = engine.context.paths.snapshot(snapshot.id)
  const back = await alter(join(dir, 'disk0.qcow2'), 200_000)
  await assert.rejects(exported(engine, snapshot), (error) => {
    assert.ok(isRametError(error, 'CHECKPOINT_DAMAGED'), String(error))
    assert.match(error.message, /disk0\.qcow2 of snapshot saved is damaged: its content has changed/)
    assert.match(error.remediation, /Put the file back.*ramet snapshot rm saved/)
    return true
  })
  assert.equal(engine.parts.uses.isHeld(snapshot.id), false, 'it is let go of')
  await back()
  await exported(engine, snapshot)
  await rm(join(dir, 'disk0.qcow2'))
  await assert.rejects(exported(engine, snapshot), /disk0.qcow2 of snapshot saved is damaged: it is missing/)
})

test('a disk that is altered while it is exported breaks the stream', async () => {
  await using engine = await TestEngine.open()
  const snapshot = await saved(engine)
  const { body } = await exportSnapshot(engine.parts, snapshot)
  await alter(join(engine.context.paths.snapshot(snapshot.id), 'disk0.qcow2'), 200_000)
  await assert.rejects(buffer(body), (error) => isRametError(error, 'CHECKPOINT_DAMAGED'))
})

test('a checkpoint that was cut short or altered anywhere is not exported, and the record says why', async () => {
  await using engine = await TestEngine.open()
  const { snapshots, paths } = engine.context
  const snapshot = await saved(engine)
  const path = join(paths.snapshot(snapshot.id), 'memory.ckpt')
  const { length } = await readFile(path)
  await using source = await FileSource.open(path)
  const checkpoint = await Checkpoint.open(source)
  const inBlock = checkpoint.rangeOf(0).offsetBytes
  for (const at of [0, 40, inBlock, Math.floor(length / 2), length - 1]) {
    const back = await alter(path, at)
    await assert.rejects(exported(engine, snapshot), (error) => {
      assert.ok(isRametError(error, 'CHECKPOINT_DAMAGED') || isRametError(error, 'CHECKPOINT_UNFIT'), `${at}: ${error}`)
      return true
    })
    assert.equal(engine.parts.uses.isHeld(snapshot.id), false, 'it is let go of')
    await back()
  }
  const back = await alter(path, inBlock)
  // It begins: the block is on the way.
  const { body } = await exportSnapshot(engine.parts, snapshot)
  await assert.rejects(buffer(body), /snapshot saved is damaged: the block 0 of .*memory\.ckpt does not match/)
  assert.equal(snapshots.find(snapshot.id).failure?.code, 'CHECKPOINT_DAMAGED')
  await back()
  await exported(engine, snapshots.find(snapshot.id))
  assert.equal(snapshots.find(snapshot.id).failure, undefined)
  await truncate(path, length - 1)
  await assert.rejects(exportSnapshot(engine.parts, snapshot), /snapshot saved is damaged: the file of .* has/)
})

test('an imported disk is known by its content, and forgotten with the snapshot', async () => {
  await using engine = await TestEngine.open()
  const { paths, store, snapshots } = engine.context
  const { id } = await importing(engine, await exported(engine, await saved(engine)), 'arrived')
  await alter(join(paths.snapshot(id), 'disk0.qcow2'), 200_000)
  const imported = snapshots.find(id)
  await assert.rejects(exported(engine, imported), /disk0.qcow2 of snapshot arrived is damaged/)
  await (await engine.snapshots.remove(imported)).done
  const known = await Registry.open<Fingerprint>(store, 'fingerprints', 'fingerprint', 'NOT_FOUND')
  assert.deepEqual(
    known.list().filter(({ ownerId }) => ownerId === id),
    [],
  )
  assert.equal(known.list().filter(({ owner }) => owner === 'snapshot').length, 1)
})

test('digests that were made to fit do not help: blocks and disks are read by what they say of themselves', async () => {
  await using engine = await TestEngine.open()
  const { context } = engine
  const snapshot = await saved(engine)
  const dir = context.paths.snapshot(snapshot.id)
  for (const [file, at] of [
    ['memory.ckpt', 600],
    ['disk0.qcow2', 40],
  ] as const) {
    const { code, message } = await refusal(engine, forged(await exported(engine, snapshot), file, at))
    assert.ok(['CHECKPOINT_DAMAGED', 'IMAGE_INVALID'].includes(code), `${file}: ${code}`)
    assert.doesNotMatch(message, /was altered/, 'its digest fits')
  }
  const disk = join(dir, 'disk0.qcow2')
  await rm(disk)
  await mkdir(join(dir, 'elsewhere'))
  const base = join(dir, 'elsewhere', 'secret')
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', base, '4M'])
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', base, '-F', 'qcow2', disk])
  await engine.parts.fingerprints.forget(snapshot.id)
  await engine.parts.fingerprints.recordSnapshot(snapshot.id, 1)
  const led = await refusal(engine, await exported(engine, snapshot))
  assert.match(led.message, /stands on something else/)
})

test('one that is being exported cannot be removed until that is over or given up', async () => {
  await using engine = await TestEngine.open()
  const snapshot = await saved(engine)
  const { body } = await exportSnapshot(engine.parts, snapshot)
  await assert.rejects(engine.snapshots.remove(snapshot), (error) => isRametError(error, 'IN_USE'))
  const closed = new Promise((resolve) => body.once('close', resolve))
  body.destroy()
  await closed
  await (await engine.snapshots.remove(snapshot)).done
})

test('what it stands on stays while it is verified, before a record says so', async () => {
  await using engine = await TestEngine.open()
  const { context } = engine
  const snapshot = await saved(engine)
  const bytes = await exported(engine, snapshot)
  for (const { id } of context.snapshots.list()) await context.snapshots.remove(id)
  await (await engine.templates.remove(context.templates.find('warm'))).done
  for (const { name } of context.vms.list()) await (await engine.vms.remove(name, true)).done
  const images = new ImageService(engine.parts)
  const { done } = await importSnapshot(engine.parts, {}, pieces(bytes))
  await assert.rejects(images.remove(snapshot.vm.imageId), (error) => isRametError(error, 'IN_USE'))
  assert.equal((await done).state, 'ready')
  assert.equal(engine.parts.uses.isHeld(snapshot.vm.imageId), false, 'it is let go of')
})

test('a manifest with a seat that no host has, or the MAC of a group, is none', async () => {
  await using engine = await TestEngine.open()
  const { vm, checkpoint, name, labels } = await saved(engine)
  const common = { rametVersion: '1', name, labels, createdAtMs: 1, frozen: false, hasForkHooks: false }
  const encode = (changes: object) =>
    encodeManifest({
      ...{ ...common, qemuVersion: '7.2.0', disks: [], workingSetBytes: 0 },
      checkpoint: { digest: checkpoint?.digest ?? '', fileBytes: 1 },
      vm: archivedVm({ ...archivedVm(vm as never), ...changes } as never),
    })
  encode({})
  const nic = (mac: string) => ({ nics: [{ network: 'isolated', mac }] })
  encode(nic('52:54:00:00:00:01'))
  for (const wrong of [nic('53:54:00:00:00:01'), nic('ff:ff:ff:ff:ff:ff'), { seat: 1 }, { seat: 65_535 }])
    assert.throws(
      () => encode(wrong),
      (error) => isRametError(error, 'CHECKPOINT_DAMAGED'),
      JSON.stringify(wrong),
    )
})
