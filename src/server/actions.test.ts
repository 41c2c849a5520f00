import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import type { ForkResult } from '../api/fork.ts'
import type { Operation } from '../api/operation.ts'
import type { Vm } from '../api/vm.ts'
import { Harness } from './testing/harness.ts'

const web = { image: 'micro', name: 'web' }

test('a quick action is waited for, with the place of what was made', async () => {
  await using harness = await Harness.start()
  const made = await harness.call('POST', '/v1/vms', { body: web })
  assert.equal(made.status, 201)
  const vm = made.json<Vm>()
  assert.equal(made.headers.location, `/v1/vms/${vm.id}`)
  const operation = await harness.call('GET', `/v1/operations/${made.headers['ramet-operation']}`)
  assert.equal(operation.json<Operation>().state, 'succeeded')
  assert.deepEqual(operation.json<Operation>().result, vm)
  assert.equal((await harness.call('GET', '/v1/vms/web')).json<Vm>().id, vm.id)
})

test('without waiting the answer is the operation, which can be waited for', async () => {
  await using harness = await Harness.start()
  const gate = Promise.withResolvers<void>()
  harness.engine.gate = gate.promise
  const accepted = await harness.call('POST', '/v1/vms?wait=false', { body: web })
  assert.equal(accepted.status, 202)
  const { id, state } = accepted.json<Operation>()
  assert.equal(accepted.headers.location, `/v1/operations/${id}`)
  assert.equal(state, 'running')
  const early = await harness.call('GET', `/v1/operations/${id}?waitMs=20`)
  assert.equal(early.json<Operation>().state, 'running')
  const waiting = harness.call('GET', `/v1/operations/${id}?waitMs=30000`)
  gate.resolve()
  assert.equal((await waiting).json<Operation>().state, 'succeeded')
})

test('slow actions are not waited for unless asked', async () => {
  await using harness = await Harness.start()
  assert.equal((await harness.call('POST', '/v1/images/build', { body: { recipe: 'debian' } })).status, 202)
  const waited = await harness.call('POST', '/v1/images/build?wait', { body: { recipe: 'debian' } })
  assert.equal(waited.status, 201)
})

test('a client that goes away does not cancel, unless it asked for that', async () => {
  await using harness = await Harness.start()
  const gate = Promise.withResolvers<void>()
  harness.engine.gate = gate.promise
  for (const [name, query, state] of [
    ['stays', '', 'running'],
    ['goes', '?cancelOnDisconnect=true', 'cancelled'],
  ] as const) {
    const client = new AbortController()
    const call = harness.call('POST', `/v1/vms${query}`, { body: { ...web, name }, signal: client.signal })
    const find = () => [...harness.engine.operations.values()].find(({ operation }) => operation.target.name === name)
    while (find() === undefined) await new Promise(setImmediate)
    const finished = state === 'cancelled' ? once(harness.engine.bus, 'event') : undefined
    client.abort()
    await assert.rejects(call)
    await finished
    assert.equal(find()?.operation.state, state)
  }
  gate.resolve()
  await harness.engine.operations.values().next().value?.done
  assert.equal((await harness.call('GET', '/v1/vms/stays')).status, 200)
})

test('an operation can be cancelled, and a final one cannot', async () => {
  await using harness = await Harness.start()
  harness.engine.gate = new Promise(() => {})
  const accepted = await harness.call('POST', '/v1/vms?wait=false', { body: web })
  const path = `/v1/operations/${accepted.json<Operation>().id}`
  assert.equal((await harness.call('POST', `${path}/cancel`)).status, 200)
  const operation = (await harness.call('GET', `${path}?waitMs=1000`)).json<Operation>()
  assert.equal(operation.state, 'cancelled')
  assert.equal(operation.error?.code, 'CANCELLED')
  assert.equal((await harness.call('POST', `${path}/cancel`)).problem().code, 'ILLEGAL_STATE')
  assert.equal((await harness.call('GET', '/v1/operations/op-none')).problem().code, 'NOT_FOUND')
})

test('verbs move a vm, and an illegal one is a conflict', async () => {
  await using harness = await Harness.start()
  await harness.call('POST', '/v1/vms', { body: web })
  const state = async (verb: string) => (await harness.call('POST', `/v1/vms/web/${verb}`)).json<Vm>().state
  assert.equal(await state('pause'), 'paused')
  assert.equal((await harness.call('POST', '/v1/vms/web/pause')).problem().code, 'ILLEGAL_STATE')
  assert.equal(await state('resume'), 'running')
  assert.equal(await state('stop'), 'stopped')
  assert.equal(await state('start'), 'running')
  assert.equal(await state('kill'), 'stopped')
  assert.equal((await harness.call('DELETE', '/v1/vms/web')).status, 204)
  assert.equal((await harness.call('DELETE', '/v1/vms/web')).problem().code, 'VM_NOT_FOUND')
})

test('a fork answers one result per child, and names with their number', async () => {
  await using harness = await Harness.start()
  await harness.call('POST', '/v1/vms', { body: web })
  await harness.call('POST', '/v1/templates?wait', { body: { from: 'vm', name: 'warm', vm: 'web' } })
  const forked = await harness.call('POST', '/v1/templates/warm/fork', { body: { count: 3, namePrefix: 'child' } })
  const names = forked.json<ForkResult>().results.map((result) => (result.ok ? result.vm.name : result.name))
  assert.deepEqual(names, ['child-0', 'child-1', 'child-2'])
  const inUse = (await harness.call('DELETE', '/v1/templates/warm')).problem()
  assert.deepEqual(inUse.details, { children: names })
})

test('lists go on at their cursor', async () => {
  await using harness = await Harness.start()
  for (const name of ['a', 'b', 'c']) await harness.call('POST', '/v1/vms', { body: { image: 'micro', name } })
  const names: string[] = []
  let cursor: string | undefined
  do {
    const query = `limit=2${cursor === undefined ? '' : `&cursor=${cursor}`}`
    const page = (await harness.call('GET', `/v1/vms?${query}`)).json<{ items: Vm[]; nextCursor?: string }>()
    names.push(...page.items.map(({ name }) => name))
    cursor = page.nextCursor
  } while (cursor !== undefined)
  assert.deepEqual(names, ['a', 'b', 'c'])
  assert.equal((await harness.call('GET', '/v1/vms?cursor=x')).problem().code, 'INVALID_ARGUMENT')
  const filtered = await harness.call('GET', '/v1/vms?state=paused&state=stopped')
  assert.deepEqual(filtered.json(), { items: [] })
})
