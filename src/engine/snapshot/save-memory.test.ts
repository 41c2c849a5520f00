import assert from 'node:assert/strict'
import { rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { FileSource } from '../../checkpoint/file/range-source.ts'
import { Checkpoint } from '../../checkpoint/file/read.ts'
import { manifestPath } from '../../memory/stored-base.ts'
import { isRametError } from '../../shared/errors.ts'
import { armFaults } from '../../shared/fault.ts'
import { baseFile } from '../disk/bases.ts'
import { takenOf } from '../testing/snapshots.ts'
import { TestEngine } from '../testing/test-engine.ts'
import { saveMemory } from './save-memory.ts'

const handle = { id: 'op-1', signal: new AbortController().signal, progress: () => {} }

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

test('where the base is not on disk, is another one there, or is not to be needed, its pages are stored', async () => {
  for (const spoil of ['missing', 'another', 'unwanted'] as const) {
    await using engine = await TestEngine.open()
    const { taken: plain, dir, templateId } = await takenOf(engine)
    if (spoil === 'missing') await rm(manifestPath(join(dir, baseFile)))
    if (spoil === 'another') await engine.context.templates.update(templateId, { baseId: 'base-of-another-time' })
    const taken = { ...plain, full: spoil === 'unwanted' }
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
