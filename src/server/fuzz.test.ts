/** Whatever is sent, the answer is a documented problem or a success: never a 500, never a crash. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { bytesBody } from './route.ts'
import { allRoutes } from './routes.ts'
import { TestExecClient } from './testing/exec-client.ts'
import { Harness } from './testing/harness.ts'

const runs = { numRuns: 150, interruptAfterTimeLimit: 8_000 }
const routes = allRoutes().filter(({ kind }) => kind !== 'stream')
const bodies = routes.filter(({ body }) => body !== undefined && body !== bytesBody)

const words = fc.constantFrom(
  'web',
  'micro',
  'vm',
  'image',
  '',
  '__proto__',
  'constructor',
  'a'.repeat(70),
  '../..',
  '\0',
)
const values = fc.oneof(fc.jsonValue(), words, fc.integer(), fc.double(), fc.constant(null))
const fields = fc.constantFrom(
  ...'name image cpus memoryBytes disks nics labels environment ports limits restart count names files from vm'.split(
    ' ',
  ),
  ...'command pty cols rows path mode guestPort hostAddress ttlSeconds readiness force signal startCommand'.split(' '),
)
const objects = fc.dictionary(fields, values, { maxKeys: 6 })

test('any JSON as the body of any route', async () => {
  await using harness = await Harness.start()
  await harness.call('POST', '/v1/vms', { body: { image: 'micro', name: 'web' } })
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...bodies), fc.oneof(objects, values), async (route, body) => {
      const path = route.path.replaceAll(/\{\w+\}/g, 'web')
      const { status } = await harness.call(route.method, path, { body })
      assert.ok(status < 500, `${route.operationId} answered ${status}`)
    }),
    runs,
  )
  assert.equal((await harness.call('GET', '/healthz')).status, 200)
})

test('any bytes as JSON, any path segment, any query', async () => {
  await using harness = await Harness.start()
  const json = { 'content-type': 'application/json' }
  const segment = fc.oneof(fc.string({ maxLength: 80 }), words).map(encodeURIComponent)
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...routes),
      segment,
      fc.dictionary(fc.oneof(fields, fc.constantFrom('limit', 'cursor', 'wait', 'tail', 'offset')), segment, {
        maxKeys: 3,
      }),
      fc.string({ maxLength: 60 }),
      async (route, value, query, raw) => {
        const path = route.path.replaceAll(/\{\w+\}/g, value === '' || /^\.\.?$/.test(value) ? 'x' : value)
        const text = Object.entries(query).map(([key, one]) => `${key}=${one}`)
        const bodied = route.method === 'GET' || route.method === 'DELETE' ? {} : { raw, headers: json }
        const { status } = await harness.call(route.method, `${path}?${text.join('&')}`, bodied)
        assert.ok(status < 500, `${route.operationId} answered ${status}`)
      },
    ),
    runs,
  )
})

test('any messages on the exec socket', async () => {
  await using harness = await Harness.start()
  await harness.call('POST', '/v1/vms', { body: { image: 'micro', name: 'web' } })
  const start = JSON.stringify({ type: 'start', exec: { command: ['cat'] } })
  const type = fc.constantFrom('start', 'resize', 'signal', 'eof', 'ack', 'detach', 'x')
  const message = fc.record({ type, offset: values, channel: values, signal: values }, { requiredKeys: ['type'] })
  const frames = fc.oneof(
    message.map((one) => JSON.stringify(one)),
    fc.uint8Array({ maxLength: 40 }),
    fc.constant(start),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(frames, { minLength: 1, maxLength: 6 }), async (sent) => {
      const client = await new TestExecClient(harness.socket('/v1/vms/web/exec')).opened()
      for (const frame of sent) client.socket.send(frame)
      client.socket.close(1000)
      await client.closed()
      for (const one of client.messages) if (one.type === 'error') assert.notEqual(one.error.code, 'INTERNAL')
    }),
    { ...runs, numRuns: 60 },
  )
  assert.equal((await harness.call('GET', '/healthz')).status, 200)
})
