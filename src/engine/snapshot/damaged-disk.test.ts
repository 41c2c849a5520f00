import assert from 'node:assert/strict'
import { open, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { SnapshotRestore, type SnapshotRestoreInput } from '../../api/snapshot.ts'
import { createDisk } from '../../disk/create.ts'
import { readStamp } from '../../disk/file-stamp.ts'
import { diskFile } from '../../fork/disk-file.ts'
import { isRametError } from '../../shared/errors.ts'
import type { Fingerprint, SnapshotRecord } from '../records.ts'
import { Registry } from '../registry.ts'
import { wholeSnapshot } from '../testing/snapshots.ts'
import { TestEngine } from '../testing/test-engine.ts'

const sizeBytes = 65536

async function withDisk(engine: TestEngine): Promise<{ snapshot: SnapshotRecord; path: string }> {
  const { vm, id } = await wholeSnapshot(engine)
  const { paths, snapshots } = engine.context
  const path = join(paths.snapshot(id), diskFile(0))
  await createDisk({ path, virtualBytes: sizeBytes })
  return { snapshot: await snapshots.update(id, { vm: { ...vm, disks: [{ sizeBytes }] } }), path }
}

const restore = async (engine: TestEngine, snapshot: SnapshotRecord, request: SnapshotRestoreInput) =>
  (await engine.snapshotRestores.restore(snapshot, SnapshotRestore.parse(request))).done

test('nothing is restored of a snapshot with an altered disk, in whatever way, and nothing is made', async () => {
  await using engine = await TestEngine.open()
  const { snapshot, path } = await withDisk(engine)
  const { vms, paths } = engine.context
  await engine.parts.fingerprints.recordSnapshot(snapshot.id, 1)
  await engine.parts.fingerprints.checkSnapshot(snapshot)
  const whole = await readFile(path)
  await using file = await open(path, 'r+')
  await file.write(Buffer.alloc(4096, 7), 0, 4096, whole.length - 4096)
  const before = [vms.list(), await readdir(paths.vmsDir)]
  const requests: SnapshotRestoreInput[] = [
    {},
    { into: 'new', names: ['lazy'] },
    { into: 'new', names: ['eager'], mode: 'eager' },
    { into: 'new', count: 2, mode: 'shared' },
  ]
  for (const request of requests)
    await assert.rejects(restore(engine, snapshot, request), (error) => {
      assert.ok(isRametError(error, 'CHECKPOINT_DAMAGED'), String(error))
      assert.match(error.message, /^disk0\.qcow2 of snapshot saved is damaged: its content has changed$/)
      assert.match(error.remediation, /ramet snapshot rm saved/)
      return true
    })
  assert.deepEqual([vms.list(), await readdir(paths.vmsDir)], before)
  assert.equal(engine.parts.uses.isHeld(snapshot.id), false)
  await writeFile(path, whole)
  await engine.parts.fingerprints.checkSnapshot(snapshot)
})

test('a disk of which nothing tells what it was is refused', async () => {
  await using engine = await TestEngine.open()
  const { snapshot } = await withDisk(engine)
  await assert.rejects(restore(engine, snapshot, { into: 'new', names: ['again'] }), /nothing tells what it was/)
})

test('a disk that was altered without a trace is found when it is read again after a reboot', async () => {
  const engine = await TestEngine.open()
  const { snapshot, path } = await withDisk(engine)
  const { fingerprints } = engine.parts
  await fingerprints.recordSnapshot(snapshot.id, 1)
  const whole = await readFile(path)
  await writeFile(path, Buffer.concat([whole.subarray(0, -1), Buffer.of(9)]))
  const stored = await Registry.open<Fingerprint>(engine.context.store, 'fingerprints', 'fingerprint', 'NOT_FOUND')
  await stored.update(`${snapshot.id}/disk0.qcow2`, { stamp: readStamp(path), bootId: 'of an earlier boot' })
  const { engine: next } = await engine.restart()
  await using _ = next
  await next.parts.fingerprints.checkSnapshot(snapshot)
  await next.parts.fingerprints.verifyOlder(new AbortController().signal)
  await assert.rejects(next.parts.fingerprints.checkSnapshot(snapshot), (error) =>
    isRametError(error, 'CHECKPOINT_DAMAGED'),
  )
})
