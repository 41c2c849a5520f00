import assert from 'node:assert/strict'
import { fstatSync, readdirSync } from 'node:fs'
import { test } from 'node:test'
import { ForkRequest } from '../../api/fork.ts'
import { isRunning, signalProcess, waitForExit } from '../../host/process-identity.ts'
import type { SpawnDetachedOptions } from '../../host/spawn-detached.ts'
import { BaseWriter } from '../../memory/base.ts'
import { findKeeper } from '../../memory/keeper.ts'
import { armFaults } from '../../shared/fault.ts'
import { newId } from '../../shared/ids.ts'
import { TestEngine } from '../testing/test-engine.ts'

/** Counts the keepers that are started from now on. */
function countKeepers(engine: TestEngine): () => number {
  let count = 0
  const { spawn } = engine.context
  engine.context.spawn = (options: SpawnDetachedOptions) => {
    if (options.command === '/bin/sleep') count += 1
    return spawn(options)
  }
  return () => count
}

test('a base that has lost its keeper is given one again, once for all children', async () => {
  await using engine = await TestEngine.open()
  const template = await engine.createTemplate()
  const keeper = template.kept?.keeper
  assert.ok(keeper)
  signalProcess(keeper, 'SIGKILL')
  await waitForExit(keeper)
  const keepers = countKeepers(engine)
  const { results } = await (await engine.forks.fork(template, ForkRequest.parse({ count: 3 }))).done
  assert.ok(results.every((result) => result.ok))
  assert.equal(keepers(), 1)
  assert.ok(engine.parts.bases.isResident(engine.context.templates.find(template.id)))
})

test('a base is loaded from its file after a restart of the host, once however many ask', async () => {
  await using first = await TestEngine.open()
  const template = await first.createTemplate()
  const keeper = template.kept?.keeper
  assert.ok(keeper)
  signalProcess(keeper, 'SIGKILL')
  await waitForExit(keeper)
  await using second = (await first.restart()).engine
  const keepers = countKeepers(second)
  const [one, other] = await Promise.all([second.parts.bases.of(template), second.parts.bases.of(template)])
  assert.equal(one.fd, other.fd)
  assert.equal((await second.parts.bases.of(template)).fd, one.fd)
  assert.equal(keepers(), 1)
})

test('letting a base go ends its keeper and closes its descriptor once', async () => {
  await using engine = await TestEngine.open()
  const template = await engine.createTemplate()
  const { fd } = await engine.parts.bases.of(template)
  await engine.parts.bases.drop(template)
  assert.throws(() => fstatSync(fd))
  assert.equal(isRunning(template.kept?.keeper ?? { pid: 0, startTime: 0, bootId: '' }), false)
  await engine.parts.bases.drop(template)
})

for (const [fault, code] of Object.entries({
  'base.intended=ENOSPC': 'ENOSPC',
  'process.spawn=EAGAIN': 'NO_CAPACITY',
  'base.kept=ENOSPC': 'ENOSPC',
})) {
  test(`a folded base that cannot be kept leaves neither memory nor a keeper nor a record: ${fault}`, async () => {
    await using engine = await TestEngine.open()
    const { bases } = engine.parts
    const make = async () => (await BaseWriter.create({ id: newId('base'), sizeBytes: 4096 })).seal()
    const base = await make()
    armFaults(fault)
    await assert.rejects(bases.adopt(base), { code })
    assert.throws(() => fstatSync(base.fd))
    assert.equal(findKeeper(base.id), undefined)
    assert.deepEqual([engine.openOwners(), engine.context.bases.list()], [[], []])
    const next = await make()
    await bases.adopt(next)
    assert.ok(findKeeper(next.id))
    await bases.sweep()
    assert.equal(findKeeper(next.id), undefined)
  })
}

test('a base that was loaded and cannot be kept is let go, and loaded again for the next fork', async () => {
  await using first = await TestEngine.open()
  const template = await first.createTemplate()
  const keeper = template.kept?.keeper
  assert.ok(keeper)
  signalProcess(keeper, 'SIGKILL')
  await waitForExit(keeper)
  await using second = (await first.restart()).engine
  const descriptors = () => readdirSync('/proc/self/fd').length
  const before = descriptors()
  armFaults('process.spawn=EAGAIN')
  await assert.rejects(second.parts.bases.of(template), { code: 'NO_CAPACITY' })
  assert.equal(descriptors(), before)
  assert.ok((await second.parts.bases.of(template)).fd > 0)
})
