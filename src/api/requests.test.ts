import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { ExecStart } from './exec.ts'
import { ForkRequest, frozenAtFork } from './fork.ts'
import { Environment, Labels, Name } from './primitives.ts'
import { Problem, toProblem } from './problem.ts'
import { TemplateCreate } from './template.ts'
import { VmCreate } from './vm-create.ts'

test('requests get their defaults', () => {
  assert.deepEqual(ForkRequest.parse({}), {
    count: 1,
    labels: {},
    environment: {},
    ports: [],
    limits: {},
    files: [],
    link: 'up',
    atomic: false,
    wait: 'ready',
    pauseParent: false,
    freeze: true,
    agent: true,
  })
  assert.deepEqual(VmCreate.parse({ image: 'micro' }).restart, { mode: 'no' })
  assert.equal(ExecStart.parse({ command: 'date' }).detached, false)
  const template = TemplateCreate.parse({ from: 'image', name: 'a', image: 'micro', readiness: { command: ['true'] } })
  assert.deepEqual(template.from === 'image' && template.readiness, {
    command: ['true'],
    intervalMs: 250,
    timeoutMs: 60_000,
  })
})

test('what is frozen passes the schema of a fork, so that the engine can name its value', () => {
  for (const field of frozenAtFork) assert.ok(ForkRequest.safeParse({ [field]: 'anything' }).success, field)
  assert.ok(!ForkRequest.safeParse({ machine: 'q35' }).success)
})

test('a fork without the agent takes nothing that only the agent could give', () => {
  assert.ok(ForkRequest.safeParse({ agent: false, labels: { a: 'b' }, ttlSeconds: 60 }).success)
  const file = { path: '/a', contentBase64: '' }
  for (const given of [{ files: [file] }, { ports: [{ guestPort: 80 }] }, { environment: { A: 'b' } }]) {
    assert.ok(ForkRequest.safeParse(given).success)
    assert.ok(!ForkRequest.safeParse({ agent: false, ...given }).success, JSON.stringify(given))
  }
})

test('names of a fork are as many as its children, and each once', () => {
  assert.ok(ForkRequest.safeParse({ count: 2, names: ['a', 'b'] }).success)
  assert.ok(!ForkRequest.safeParse({ count: 2, names: ['a'] }).success)
  assert.ok(!ForkRequest.safeParse({ count: 2, names: ['a', 'a'] }).success)
  assert.ok(!ForkRequest.safeParse({ count: limits.forkMaxCount + 1 }).success)
})

test('injected files have a limit each and in all', () => {
  const file = (bytes: number) => ({ path: '/a', contentBase64: Buffer.alloc(bytes).toString('base64') })
  assert.ok(ForkRequest.safeParse({ files: [file(limits.injectedFileBytes)] }).success)
  assert.ok(!ForkRequest.safeParse({ files: [file(limits.injectedFileBytes + 3)] }).success)
  const many = Array.from({ length: limits.injectedTotalBytes / limits.injectedFileBytes + 1 }, () =>
    file(limits.injectedFileBytes),
  )
  assert.ok(!ForkRequest.safeParse({ files: many }).success)
})

test('names, labels and variables', () => {
  for (const name of ['a', 'web-1', 'x'.repeat(63)]) assert.ok(Name.safeParse(name).success, name)
  for (const name of ['', '-a', 'a-', 'A', 'a.b', 'a/b', 'x'.repeat(64), 'a\n'])
    assert.ok(!Name.safeParse(name).success)
  assert.ok(Labels.safeParse({ 'app/team.x': '' }).success)
  const labels = Object.fromEntries(Array.from({ length: limits.labelCount + 1 }, (_, i) => [`l${i}`, '']))
  assert.ok(!Labels.safeParse(labels).success)
  assert.ok(Environment.safeParse({ A: 'x'.repeat(limits.environmentBytes - 3) }).success)
  assert.ok(!Environment.safeParse({ A: 'x'.repeat(limits.environmentBytes - 2) }).success)
  assert.ok(!Environment.safeParse({ A: 'nul\0' }).success)
})

test('an error becomes its problem document', () => {
  const cause = new Error('outer', { cause: new Error('inner') })
  const error = new RametError('NO_SPACE', { message: 'no room for a disk', cause, details: { wantedBytes: 5 } })
  const problem = toProblem(error, 'req-1')
  assert.deepEqual(Problem.parse(problem), problem)
  assert.deepEqual(problem, {
    type: 'urn:ramet:problem:no-space',
    title: 'No space',
    status: 507,
    detail: 'no room for a disk',
    code: 'NO_SPACE',
    cause: 'outer: inner',
    remediation: 'Free space in the data directory, then call again.',
    retryable: false,
    details: { wantedBytes: 5 },
    instance: 'req-1',
  })
})
