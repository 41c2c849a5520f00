import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ForkRequest } from '../../api/fork.ts'
import { isRametError } from '../../shared/errors.ts'
import { TestEngine } from '../testing/test-engine.ts'
import { discardArmed } from './child.ts'

const requested = (changes: Partial<ForkRequest> = {}) => ForkRequest.parse(changes)

test('children run with names and hostnames of their own, their links up', async () => {
  await using engine = await TestEngine.open()
  const template = await engine.createTemplate('warm')
  const { results } = await (await engine.forks.fork(template, requested({ count: 2 }))).done
  assert.deepEqual(
    results.map((result) => (result.ok ? [result.vm.name, result.vm.state] : result.error)),
    [
      ['warm-0', 'running'],
      ['warm-1', 'running'],
    ],
  )
  for (const vm of engine.context.vms.list().filter(({ templateId }) => templateId === template.id)) {
    assert.equal(engine.vmm.of(vm.id).hostname, vm.name)
    assert.deepEqual([...engine.vmm.of(vm.id).linksUp], [['nic0', true]])
  }
})

test('several children cannot have one port of the host', async () => {
  await using engine = await TestEngine.open()
  const template = await engine.createTemplate('warm')
  const vm = engine.context.vms.find((await engine.createVm({ name: 'web' })).id)
  const request = requested({ count: 2, ports: [{ guestPort: 80, hostAddress: '127.0.0.1', hostPort: 34_999 }] })
  for (const fork of [() => engine.forks.fork(template, request), () => engine.forks.forkVm(vm, request)])
    await assert.rejects(fork, (error) => isRametError(error, 'INVALID_ARGUMENT') && /34999/.test(error.message))
})

test('a child writes down what it came from', async () => {
  await using engine = await TestEngine.open()
  const template = await engine.createTemplate('warm')
  await (await engine.forks.fork(template, requested({ names: ['one'] }))).done
  const parent = { kind: 'template', id: template.id, name: 'warm' }
  assert.deepEqual(engine.context.vms.find('one').ancestors, [parent])
})

test('what the device state has frozen is refused, with what the template has', async () => {
  await using engine = await TestEngine.open()
  const template = await engine.createTemplate('warm')
  await assert.rejects(engine.forks.fork(template, requested({ cpus: 2 })), (error) => {
    assert(isRametError(error, 'FROZEN_BY_TEMPLATE'))
    assert.match(error.message, /template warm has 1/)
    return true
  })
})

/** Holds the named request of every guest back until `open()`. */
function gate(engine: TestEngine, what: string) {
  const reached = Promise.withResolvers<string>()
  const opened = Promise.withResolvers<void>()
  engine.vmm.interfere = async (called, guest) => {
    if (called !== what) return
    reached.resolve(guest?.vmId ?? '')
    await opened.promise
  }
  return { reached: reached.promise, open: opened.resolve }
}

const removals = (engine: TestEngine) => engine.events.filter(({ type }) => type === 'vm.removed')

test('a child that is removed while it is being forked goes once, and frees its seat once', async () => {
  await using engine = await TestEngine.open()
  const template = await engine.createTemplate()
  const held = gate(engine, 'identity.apply')
  const fork = await engine.forks.fork(template, requested({ names: ['one'] }))
  const id = await held.reached
  const removal = await engine.vms.remove('one', true)
  held.open()
  await Promise.allSettled([fork.done, removal.done])
  assert.equal(engine.context.vms.get(id), undefined)
  assert.equal(removals(engine).length, 1)
  assert.deepEqual(engine.openOwners(), [template.id])
})

test('a template is not removed while a fork of it is under way, and stays usable', async () => {
  await using engine = await TestEngine.open()
  const template = await engine.createTemplate()
  const held = gate(engine, 'spawn')
  const fork = await engine.forks.fork(template, requested({ names: ['one'] }))
  await held.reached
  await assert.rejects(
    engine.templates.remove(template).then(({ done }) => done),
    (error) => isRametError(error, 'IN_USE'),
  )
  held.open()
  const { results } = await fork.done
  assert.ok(results[0]?.ok)
  assert.equal(engine.context.templates.find(template.id).state, 'ready')
})

test('a fork of a template that goes before its turn comes is refused', async () => {
  await using engine = await TestEngine.open()
  const template = await engine.createTemplate()
  const [removal, fork] = await Promise.all([
    engine.templates.remove(template),
    engine.forks.fork(template, requested()),
  ])
  const outcomes = await Promise.allSettled([removal.done, fork.done])
  const children = engine.context.vms.list().filter(({ templateId }) => templateId === template.id)
  const isThere = engine.context.templates.get(template.id) !== undefined
  assert.equal(children.length > 0, isThere, JSON.stringify(outcomes))
})

test('a child that nobody waits for and that cannot prove its identity is told of, and removed', async () => {
  await using engine = await TestEngine.open()
  const template = await engine.createTemplate()
  engine.vmm.interfere = (what) => {
    if (what === 'identity.apply') throw new TypeError('no')
  }
  const gone = Promise.withResolvers<void>()
  engine.context.events.subscribe(undefined, ({ type }) => {
    if (type === 'vm.removed') gone.resolve()
  })
  const { results } = await (await engine.forks.fork(template, requested({ wait: 'running' }))).done
  assert.ok(results[0]?.ok)
  await gone.promise
  const failures = engine.events.filter(({ type }) => type === 'vm.failed')
  assert.equal(failures.length, 1)
  assert.deepEqual(
    engine.context.vms.list().map(({ name }) => name),
    ['warm-parent'],
  )
})

test('with atomic, one that fails takes the others along', async () => {
  await using engine = await TestEngine.open()
  const template = await engine.createTemplate()
  let count = 0
  engine.vmm.interfere = (what) => {
    if (what === 'identity.apply' && ++count === 2) throw new TypeError('no')
  }
  await assert.rejects(
    engine.forks.fork(template, requested({ count: 3, atomic: true })).then(({ done }) => done),
    (error) => isRametError(error, 'FORK_INCOMPLETE'),
  )
  assert.equal(engine.context.vms.list().length, 1)
  assert.deepEqual(engine.openOwners(), [template.id])
})

test('a start that is never loaded gives its descriptors back', async () => {
  await using engine = await TestEngine.open()
  const template = await engine.context.templates.update((await engine.createTemplate()).id, { armed: 1 })
  engine.parts.armed.refill(template)
  await engine.parts.armed.filled(template.id)
  const child = engine.parts.armed.take(template.id)
  assert.ok(child)
  await discardArmed(engine.parts, child)
  assert.equal(child.launched.qemu.incoming?.destroyed, true)
  assert.equal(child.launched.qemu.qmp.isOpen, false)
})

test('a name that is taken fails its own child only; with atomic, or alone, the call', async () => {
  await using engine = await TestEngine.open()
  const template = await engine.createTemplate()
  await engine.createVm({ name: 'taken', start: false })
  const names = ['aa', 'taken', 'bb']
  const { results } = await (await engine.forks.fork(template, requested({ names, count: 3 }))).done
  assert.deepEqual(
    results.map((result) => (result.ok ? result.vm.name : [result.name, result.error.code])),
    ['aa', ['taken', 'NAME_TAKEN'], 'bb'],
  )
  const refused = (error: unknown) => isRametError(error, 'NAME_TAKEN')
  await assert.rejects(
    engine.forks.fork(template, requested({ names: ['cc', 'taken'], count: 2, atomic: true })),
    refused,
  )
  await assert.rejects(engine.forks.fork(template, requested({ names: ['taken'] })), refused)
  assert.equal(engine.context.vms.nameTaken('cc'), false)
})
