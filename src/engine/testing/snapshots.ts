import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { SnapshotCreate } from '../../api/snapshot.ts'
import { sampleGuest } from '../../checkpoint/file/testing/sample.ts'
import { pageBytes } from '../../memory/base.ts'
import { newId } from '../../shared/ids.ts'
import type { SnapshotRecord, VmRecord } from '../records.ts'
import { checkpointFile } from '../restore/restore-request.ts'
import { saveMemory } from '../snapshot/save-memory.ts'
import { checkpointPathOf } from '../snapshot/snapshot-files.ts'
import { plannedRecord } from '../snapshot/snapshot-record.ts'
import type { Taken } from '../snapshot/take-snapshot.ts'
import { cpuFeatures } from './fake-vmm.ts'
import type { TestEngine } from './test-engine.ts'

/** A snapshot that could have been made of a vm; its checkpoint is a few bytes. */
export async function storedSnapshot(
  { context }: TestEngine,
  vm: VmRecord,
  changes: Partial<SnapshotRecord> = {},
): Promise<SnapshotRecord> {
  const request = SnapshotCreate.parse({})
  const planned = plannedRecord(context, { id: newId('snap'), name: 'saved', request }, vm)
  const dir = context.paths.snapshot(planned.id)
  await mkdir(dir)
  await writeFile(join(dir, checkpointFile), 'memory')
  const checkpoint = { digest: 'ab'.repeat(32), fileBytes: 6 }
  return context.snapshots.create({ ...planned, state: 'ready', checkpoint, ...changes })
}

/** A child of a template that has written one page, captured. */
export async function takenOf(
  engine: TestEngine,
): Promise<{ taken: Taken; path: string; templateId: string; dir: string }> {
  const { context, parts } = engine
  const template = await engine.createTemplate('warm')
  const base = await parts.bases.of(template)
  const made = await engine.createVm({ name: 'web', start: false })
  const vm = { ...made, machine: { ...made.machine, memoryBytes: base.sizeBytes } }
  const record = await storedSnapshot(engine, vm, { state: 'creating' })
  const path = checkpointPathOf(context.paths, record.id)
  await rm(path)
  const { deviceState, ramBlocks, roms } = sampleGuest().parts
  const blocks = ramBlocks.map((block) =>
    block.name === 'mem' ? { ...block, usedBytes: vm.machine.memoryBytes } : block,
  )
  const delta = { runs: [{ offsetBytes: 8 * pageBytes, lengthBytes: pageBytes }], bytes: Buffer.alloc(pageBytes, 2) }
  const taken: Taken = {
    record,
    capturedAt: new Date(0),
    deviceState: { blob: deviceState, blocks },
    romPages: roms,
    memory: { kind: 'delta', delta, base },
    base,
    full: false,
    cpuFeatures,
    deltaBytes: pageBytes,
    diskBytes: 0,
    timings: {},
    [Symbol.dispose]: () => {},
  }
  return { taken, path, templateId: template.id, dir: context.paths.template(template.id) }
}

/** A snapshot that can be restored: memory of two pages, one of them in the base of a template, and no disks. */
export async function wholeSnapshot(engine: TestEngine): Promise<SnapshotRecord> {
  const { context } = engine
  const { taken } = await takenOf(engine)
  const { record } = taken
  const handle = { id: 'op-1', signal: new AbortController().signal, progress: () => {} }
  const facts = await saveMemory(context, taken, handle)
  const vm = { ...record.vm, state: 'running' as const, startedAtMs: 1 }
  // The vm has run by then.
  await context.vms.update(vm.id, { state: 'stopped', startedAtMs: 1, machine: vm.machine })
  return context.snapshots.update(record.id, { ...facts, vm, state: 'ready', frozen: true })
}
