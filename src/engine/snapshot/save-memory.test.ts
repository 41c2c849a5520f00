import assert from 'node:assert/strict'
import { rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { FileSource } from '../../checkpoint/file/range-source.ts'
import { Checkpoint } from '../../checkpoint/file/read.ts'
import { sampleGuest } from '../../checkpoint/file/testing/sample.ts'
import { pageBytes } from '../../memory/base.ts'
import { manifestPath } from '../../memory/store.ts'
import { isRametError } from '../../shared/errors.ts'
import { armFaults } from '../../shared/fault.ts'
import { baseFile } from '../disk/bases.ts'
import { storedSnapshot } from '../testing/snapshots.ts'
import { TestEngine } from '../testing/test-engine.ts'
import { saveMemory } from './save-memory.ts'
import { checkpointPathOf } from './snapshot-files.ts'
import type { Taken } from './take-snapshot.ts'

const handle = { id: 'op-1', signal: new AbortController().signal, progress: () => {} }

/** A child of a template that has written one page, captured. */
async function takenOf(engine: TestEngine): Promise<{ taken: Taken; path: string; templateId: string; dir: string }> {
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
    deltaBytes: pageBytes,
    diskBytes: 0,
    timings: {},
    [Symbol.dispose]: () => {},
  }
  return { taken, path, templateId: template.id, dir: context.paths.template(template.id) }
}

test('pages of a template’s base are named, and the template with them', async () => {
  await using engine = await TestEngine.open()
  const { taken, path, templateId } = await takenOf(engine)
  const { checkpoint, memory } = await saveMemory(engine.context, taken, handle)
  assert.equal(checkpoint?.baseOf, templateId)
  assert.deepEqual([memory?.basePages, memory?.order], [1, 'physical'])
  assert.equal(checkpoint?.fileBytes, (await stat(path)).size)
  await using source = await FileSource.open(path)
  const opened = await Checkpoint.open(source, { digest: checkpoint?.digest ?? '' })
  assert.equal(opened.manifest.base?.id, engine.context.templates.find(templateId).baseId)
  assert.deepEqual([...opened.pages.pagesOf(0)], [8])
})

test('where the base is not on disk, or is another one there, its pages are stored', async () => {
  for (const spoil of ['missing', 'another'] as const) {
    await using engine = await TestEngine.open()
    const { taken, dir, templateId } = await takenOf(engine)
    if (spoil === 'missing') await rm(manifestPath(join(dir, baseFile)))
    else await engine.context.templates.update(templateId, { baseId: 'base-of-another-time' })
    const { checkpoint, memory } = await saveMemory(engine.context, taken, handle)
    assert.deepEqual([checkpoint?.baseOf, memory?.basePages], [undefined, 0], spoil)
    assert.equal(memory === undefined ? 0 : memory.pages - memory.zeroPages, 2, spoil)
  }
})

test('a disk that fills up on the way leaves nothing of the file', async () => {
  await using engine = await TestEngine.open()
  const { taken, path } = await takenOf(engine)
  armFaults('checkpoint.block=ENOSPC')
  await assert.rejects(saveMemory(engine.context, taken, handle), (error) => isRametError(error, 'NO_SPACE'))
  armFaults('')
  await assert.rejects(stat(path), { code: 'ENOENT' })
})
