import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Harness, testToken } from './testing/harness.ts'

const bearer = { authorization: `Bearer ${testToken}` }

test('loopback HTTP wants the token, the unix socket does not', async () => {
  await using harness = await Harness.start()
  assert.equal((await harness.call('GET', '/v1/vms')).status, 200)
  assert.equal((await harness.call('GET', '/v1/vms', { http: true, headers: bearer })).status, 200)
  for (const headers of [
    {},
    { authorization: 'Bearer ' },
    { authorization: 'Bearer wrong' },
    { authorization: `Basic ${testToken}` },
    { authorization: `Bearer ${testToken}x` },
  ]) {
    const refused = await harness.call('GET', '/v1/vms', { http: true, headers: headers as Record<string, string> })
    assert.equal(refused.problem().code, 'UNAUTHORIZED')
    assert.match(refused.headers['www-authenticate'] ?? '', /^Bearer/)
  }
})

test('health, readiness and version need no token; metrics and the document do', async () => {
  await using harness = await Harness.start()
  for (const path of ['/healthz', '/readyz', '/version'])
    assert.equal((await harness.call('GET', path, { http: true })).status, 200, path)
  for (const path of ['/metrics', '/openapi.json']) {
    assert.equal((await harness.call('GET', path, { http: true })).status, 401, path)
    assert.equal((await harness.call('GET', path, { http: true, headers: bearer })).status, 200, path)
  }
})

test('a Host header that is not ours is refused, also on open routes', async () => {
  await using harness = await Harness.start()
  for (const host of [
    'evil.example',
    'evil.example:80',
    '127.0.0.1.evil.example',
    'localhost.evil.example',
    '10.0.2.2',
  ]) {
    const refused = await harness.call('GET', '/version', { http: true, headers: { ...bearer, host } })
    assert.equal(refused.problem().code, 'FORBIDDEN', host)
  }
  for (const host of ['localhost', 'LOCALHOST:80', '127.0.0.1:9', '[::1]:7263'])
    assert.equal((await harness.call('GET', '/version', { http: true, headers: { host } })).status, 200, host)
})

test('a request that a web page sends is refused on both faces', async () => {
  await using harness = await Harness.start()
  for (const http of [true, false])
    for (const headers of [
      { origin: 'https://evil.example' },
      { origin: 'null' },
      { origin: 'http://localhost' },
      { 'sec-fetch-site': 'cross-site' },
    ]) {
      const refused = await harness.call('POST', '/v1/vms', {
        http,
        headers: { ...bearer, ...(headers as Record<string, string>) },
        body: { image: 'micro' },
      })
      assert.equal(refused.problem().code, 'FORBIDDEN')
    }
  assert.equal(harness.engine.vms.size, 0)
})

test('an upgrade is held to the same rules', async () => {
  await using harness = await Harness.start()
  const code = await new Promise<number>((resolve) => {
    const socket = harness.socket('/v1/vms/web/exec', { origin: 'https://evil.example' })
    socket.on('unexpected-response', (_request, response) => resolve(response.statusCode ?? 0))
    socket.on('error', () => {})
  })
  assert.equal(code, 403)
})

test('until the engine is ready, only the daemon itself can be asked about', async () => {
  await using harness = await Harness.start()
  harness.engine.isReady = false
  assert.equal((await harness.call('GET', '/healthz')).status, 200)
  assert.equal((await harness.call('GET', '/metrics')).status, 200)
  for (const path of ['/readyz', '/v1/vms']) {
    const early = await harness.call('GET', path)
    assert.equal(early.problem().code, 'DAEMON_UNREACHABLE')
    assert.equal(early.problem().retryable, true)
    assert.equal(early.headers['retry-after'], '1')
  }
})
