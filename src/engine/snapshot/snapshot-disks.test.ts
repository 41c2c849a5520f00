import assert from 'node:assert/strict'
import { mkdir, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { readLayer } from '../../disk/layer.ts'
import { standOn as nameBelow } from '../../disk/stand-on.ts'
import { diskFile } from '../../fork/disk-file.ts'
import { freezeDisks } from '../../fork/disk-point.ts'
import { isRametError } from '../../shared/errors.ts'
import { prepareLiveDisks } from '../fork/live-disks.ts'
import type { VmRecord } from '../records.ts'
import { checkDisk, diskVm, family, freeze, pathOf, qemuOf, writeDisk } from '../testing/lent-disks.ts'
import { TestEngine } from '../testing/test-engine.ts'
import { copyDisks } from './snapshot-disks.ts'

/** Larger than what a fork copies. */
const largeMiB = 33
const handle = { signal: new AbortController().signal, progress: () => {} }
const wanted = { copies: 1, mayLend: false, what: 'a snapshot' }

/** Freezes the disks of a vm, has it write on, and copies what stood still. @returns path of the copy */
async function copied(engine: TestEngine, { id }: VmRecord, during: (dir: string) => Promise<void> = async () => {}) {
  const { context } = engine
  const dir = context.paths.snapshot('snap-1')
  await mkdir(dir)
  return engine.parts.runtimes.exclusively(id, async () => {
    const vm = context.vms.find(id)
    const live = await prepareLiveDisks(engine.parts, vm, qemuOf(engine, vm), wanted)
    await freezeDisks(qemuOf(engine, vm), live.levels)
    await writeDisk(pathOf(engine, vm, (live.levels[0] ?? 0) + 1), 7)
    try {
      await during(dir)
      assert.ok((await copyDisks(context, vm, await live.seeds(), { dir, handle })) > 0)
    } finally {
      await live.release()
    }
    return join(dir, diskFile(0))
  })
}

async function assertAlone(path: string, value: number): Promise<void> {
  await checkDisk(path, value)
  assert.equal((await readLayer(path)).header.backing, undefined, 'it stands on its base alone, which is none here')
  assert.equal((await stat(path)).mode & 0o777, 0o400)
}

test('a disk is copied as it stood, however large; its vm writes on and nothing is lent', async () => {
  await using engine = await TestEngine.open()
  const vm = await diskVm(engine, 'web', 1, largeMiB)
  await assertAlone(await copied(engine, vm), 1)
  await engine.parts.settling.idle()
  assert.deepEqual(engine.context.deltas.list(), [])
  await checkDisk(pathOf(engine, vm), 7)
})

test('a level that an earlier merge has left is merged first, rather than lent', async () => {
  await using engine = await TestEngine.open()
  const vm = await diskVm(engine, 'web', 1)
  await freeze(engine, vm)
  await writeDisk(pathOf(engine, vm, 1), 2)
  await assertAlone(await copied(engine, vm), 2)
  assert.deepEqual(engine.context.deltas.list(), [])
})

test('a disk that stands on a frozen delta, or is one for now, is collapsed in the copy', async () => {
  for (const who of ['parent', 'child'] as const) {
    await using engine = await TestEngine.open()
    const vms = await family(engine)
    // Not before it was looked at.
    const { disks } = engine.vmm.of(vms.child.id)
    disks.holdsJobs = true
    const letGoOn = async () => {
      disks.holdsJobs = false
    }
    await assertAlone(await copied(engine, vms[who], letGoOn), who === 'parent' ? 2 : 1)
    await engine.parts.settling.idle()
  }
})

test('a disk whose header names another base than its record is refused', async () => {
  await using engine = await TestEngine.open()
  const [vm, other] = [await diskVm(engine, 'web', 1), await diskVm(engine, 'other', 2)]
  await freeze(engine, other)
  const delta = await engine.parts.deltas.lend(other.id, 0)
  const hold = engine.parts.deltas.hold(delta)
  const lie = async () => nameBelow(pathOf(engine, vm), engine.context.paths.delta(delta))
  await assert.rejects(copied(engine, vm, lie), (error) => {
    assert.ok(isRametError(error, 'IMAGE_INVALID'))
    assert.match(error.message, /instead of nothing/)
    return true
  })
  hold[Symbol.dispose]()
  assert.deepEqual(await readdir(engine.context.paths.snapshotsDir), ['snap-1'], 'the caller removes it')
})
