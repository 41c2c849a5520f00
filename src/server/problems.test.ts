import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { limits } from '../shared/limits.ts'
import { Harness } from './testing/harness.ts'

test('an unknown route and an unknown vm are problems with a remedy', async () => {
  await using harness = await Harness.start()
  const route = (await harness.call('GET', '/v2/nothing')).problem()
  assert.equal(route.code, 'NOT_FOUND')
  assert.match(route.detail, /GET \/v2\/nothing/)
  const vm = (await harness.call('GET', '/v1/vms/nobody')).problem()
  assert.deepEqual(
    { ...vm, instance: undefined },
    {
      type: 'urn:ramet:problem:vm-not-found',
      title: 'Vm not found',
      status: 404,
      detail: 'there is no vm “nobody”',
      code: 'VM_NOT_FOUND',
      remediation: 'See `ramet ls --all` for the names there are.',
      retryable: false,
      instance: undefined,
    },
  )
  assert.match(vm.instance ?? '', /^req-/)
})

test('a refusal names the field', async () => {
  await using harness = await Harness.start()
  const refusals: [unknown, string, RegExp][] = [
    [{ image: 'micro', cpus: 0 }, 'INVALID_ARGUMENT', /^body\.cpus: /],
    [{ image: 'micro', cpu: 1 }, 'INVALID_ARGUMENT', /^body: .*"cpu"/],
    [{ image: 'micro', name: 'No Good' }, 'INVALID_NAME', /^body\.name: not a valid name/],
    [{ image: 'micro', environment: { 'A=B': 'c' } }, 'INVALID_ARGUMENT', /^body\.environment/],
    [{ image: 'micro', ports: [{ guestPort: 0 }] }, 'INVALID_ARGUMENT', /^body\.ports\.0\.guestPort: /],
    [{}, 'INVALID_ARGUMENT', /^body\.image: /],
    [[], 'INVALID_ARGUMENT', /^body: /],
  ]
  for (const [body, code, detail] of refusals) {
    const problem = (await harness.call('POST', '/v1/vms', { body })).problem()
    assert.equal(problem.code, code, problem.detail)
    assert.match(problem.detail, detail)
    assert.ok(Array.isArray(problem.details?.issues))
  }
  const inQuery = (await harness.call('GET', '/v1/vms?limit=0')).problem()
  assert.match(inQuery.detail, /^query\.limit: /)
  const unknown = (await harness.call('GET', '/v1/vms?colour=red')).problem()
  assert.match(unknown.detail, /^query: .*"colour"/)
  const inPath = (await harness.call('GET', '/v1/vms/..%2f..%2fetc')).problem()
  assert.match(inPath.detail, /^path\.vm: /)
})

test('bodies that cannot be read are refused in words', async () => {
  await using harness = await Harness.start()
  const json = { 'content-type': 'application/json' }
  const bad = await harness.call('POST', '/v1/vms', { raw: '{"image":', headers: json })
  assert.equal(bad.problem().code, 'INVALID_ARGUMENT')
  const poisoned = await harness.call('POST', '/v1/vms', { raw: '{"image":"micro","__proto__":{}}', headers: json })
  assert.equal(poisoned.problem().code, 'INVALID_ARGUMENT')
  const large = await harness.call('POST', '/v1/vms', { raw: 'x'.repeat(limits.requestBodyBytes + 1), headers: json })
  assert.equal(large.problem().code, 'TOO_LARGE')
  assert.match(large.problem().detail, new RegExp(String(limits.requestBodyBytes)))
  const form = { 'content-type': 'application/x-www-form-urlencoded' }
  const notJson = await harness.call('POST', '/v1/vms', { raw: 'image=micro', headers: form })
  assert.match(notJson.problem().detail, /content-type/)
  const none = await harness.call('POST', '/v1/vms')
  assert.equal(none.problem().code, 'INVALID_ARGUMENT')
  const unwanted = await harness.call('POST', '/v1/vms/web/start', { body: { now: true } })
  assert.match(unwanted.problem().detail, /takes none/)
  assert.deepEqual(harness.engine.calls, [])
})

test('a body may be left out where everything in it has a default', async () => {
  await using harness = await Harness.start()
  await harness.call('POST', '/v1/vms', { body: { image: 'micro', name: 'web' } })
  assert.equal((await harness.call('POST', '/v1/vms/web/fork')).status, 201)
  const empty = { 'content-type': 'application/json' }
  assert.equal((await harness.call('POST', '/v1/vms/web/stop', { raw: '', headers: empty })).status, 200)
})

test('what the engine throws without a code is INTERNAL and does not kill the server', async () => {
  await using harness = await Harness.start()
  harness.engine.failNext = new TypeError('unexpected')
  const problem = (await harness.call('GET', '/v1/vms')).problem()
  assert.equal(problem.code, 'INTERNAL')
  assert.equal((await harness.call('GET', '/v1/vms')).status, 200)
  harness.engine.failNext = Object.assign(new Error('write failed'), { code: 'ENOSPC' })
  assert.equal((await harness.call('POST', '/v1/vms', { body: { image: 'micro' } })).problem().code, 'NO_SPACE')
})

test('what is not HTTP is answered with a problem too', async () => {
  await using harness = await Harness.start()
  const socket = connect(harness.server.socketPath)
  socket.write('NONSENSE\r\n\r\n')
  const answer = await text(socket)
  assert.match(answer, /^HTTP\/1\.1 400 /)
  assert.match(answer, /application\/problem\+json/)
  assert.equal(JSON.parse(answer.slice(answer.indexOf('\r\n\r\n'))).code, 'INVALID_ARGUMENT')
})

test('a path that is no URI is refused', async () => {
  await using harness = await Harness.start()
  assert.equal((await harness.call('GET', '/v1/vms/%zz')).problem().code, 'INVALID_ARGUMENT')
})

test('the template’s value is named when a fork asks for what is frozen', async () => {
  await using harness = await Harness.start()
  await harness.call('POST', '/v1/vms', { body: { image: 'micro', name: 'web' } })
  await harness.call('POST', '/v1/templates?wait', { body: { from: 'vm', name: 'warm', vm: 'web' } })
  const problem = (await harness.call('POST', '/v1/templates/warm/fork', { body: { cpus: 4 } })).problem()
  assert.equal(problem.code, 'FROZEN_BY_TEMPLATE')
  assert.match(problem.detail, /cpus is fixed by “warm” at 1/)
})
