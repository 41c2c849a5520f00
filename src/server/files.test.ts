import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import type { FileEntry } from '../api/file.ts'
import type { Image } from '../api/image.ts'
import { limits } from '../shared/limits.ts'
import { type Called, Harness } from './testing/harness.ts'

const bytes = { 'content-type': 'application/octet-stream' }
const files = '/v1/vms/web/files'

async function withVm(): Promise<Harness> {
  const harness = await Harness.start()
  await harness.call('POST', '/v1/vms', { body: { image: 'micro', name: 'web' } })
  return harness
}

const hash = (data: Buffer) => createHash('sha256').update(data).digest('hex')

test('a file larger than any body limit goes in and out as a stream', async () => {
  await using harness = await withVm()
  const data = randomBytes(limits.requestBodyBytes * 3 + 17)
  const put = await harness.call('PUT', `${files}?path=/srv/big`, { raw: Readable.from([data]), headers: bytes })
  assert.equal(put.json<FileEntry>().sizeBytes, data.length)
  const whole = await harness.call('GET', `${files}?path=/srv/big`)
  assert.equal(hash(whole.bytes), hash(data))
  assert.equal(whole.headers['content-length'], String(data.length))
  assert.equal(whole.headers['x-content-type-options'], 'nosniff')
  const part = await harness.call('GET', `${files}?path=/srv/big&offset=1000&length=100`)
  assert.deepEqual(part.bytes, data.subarray(1000, 1100))
})

test('files can be looked at, listed, renamed and removed', async () => {
  await using harness = await withVm()
  await harness.call('PUT', `${files}?path=/a&mode=600`, { raw: 'x', headers: bytes })
  assert.equal((await harness.call('POST', `${files}/mkdir`, { body: { path: '/d' } })).status, 201)
  const renamed = await harness.call('POST', `${files}/rename`, { body: { from: '/a', to: '/b' } })
  assert.equal(renamed.json<FileEntry>().path, '/b')
  const list = (await harness.call('GET', `${files}/list?path=/`)).json<{ items: FileEntry[] }>()
  assert.deepEqual(
    list.items.map(({ name }) => name),
    ['b'],
  )
  assert.equal((await harness.call('GET', `${files}/stat?path=/b`)).json<FileEntry>().sizeBytes, 1)
  assert.equal((await harness.call('DELETE', `${files}?path=/b`)).status, 204)
  assert.equal((await harness.call('GET', `${files}?path=/b`)).problem().code, 'NOT_FOUND')
})

test('paths and modes are checked before the guest is asked', async () => {
  await using harness = await withVm()
  const refused = async (called: Promise<Called>, detail: RegExp) => {
    assert.match((await called).problem().detail, detail)
  }
  await refused(harness.call('GET', `${files}?path=relative`), /query\.path/)
  await refused(harness.call('GET', `${files}?path=/a%00b`), /query\.path/)
  await refused(harness.call('GET', files), /query\.path/)
  await refused(harness.call('PUT', `${files}?path=/a&mode=999`, { raw: 'x', headers: bytes }), /query\.mode/)
})

test('an upload that is announced as too large is refused before it is read', async () => {
  await using harness = await withVm()
  const headers = { ...bytes, 'content-length': String(limits.fileBodyBytes + 1) }
  const response = await harness.open('PUT', `${files}?path=/a`, { raw: Readable.from([Buffer.alloc(10)]), headers })
  assert.equal(response.statusCode, 413)
  response.destroy()
})

test('an upload that is refused is answered although it is still being sent', async () => {
  await using harness = await withVm()
  const path = '/v1/vms/nobody/files?path=/a'
  const large = Buffer.alloc(8 * limits.requestBodyBytes)
  const refused = await harness.call('PUT', path, { raw: Readable.from([large]), headers: bytes })
  assert.equal(refused.problem().code, 'VM_NOT_FOUND')
  const body = new Readable({ read() {} })
  body.push('never ends')
  const client = new AbortController()
  const response = await harness.open('PUT', path, { raw: body, headers: bytes, signal: client.signal })
  assert.equal(response.statusCode, 404)
  response.on('error', () => {})
  client.abort()
  assert.equal((await harness.call('GET', '/healthz')).status, 200)
})

test('bytes are bytes, whatever their type says, and none are a file too', async () => {
  await using harness = await withVm()
  const json = { 'content-type': 'application/json' }
  const broken = await harness.call('PUT', `${files}?path=/a.json`, { raw: '{"half":', headers: json })
  assert.equal(broken.json<FileEntry>().sizeBytes, 8)
  const empty = await harness.call('PUT', `${files}?path=/empty`, { headers: { 'content-length': '0' } })
  assert.equal(empty.json<FileEntry>().sizeBytes, 0)
})

test('an upload that breaks off does not become a file', async () => {
  await using harness = await withVm()
  const body = new Readable({ read() {} })
  const client = new AbortController()
  const called = harness.call('PUT', `${files}?path=/half`, { raw: body, headers: bytes, signal: client.signal })
  body.push('first half')
  while (!harness.engine.calls.includes('writeFile')) await new Promise(setImmediate)
  client.abort()
  await assert.rejects(called)
  assert.equal((await harness.call('GET', `${files}?path=/half`)).problem().code, 'NOT_FOUND')
})

test('a download that breaks in the middle is cut off, and the daemon goes on', async () => {
  await using harness = await withVm()
  harness.engine.files.set('/breaks', Buffer.alloc(limits.requestBodyBytes))
  await assert.rejects(harness.call('GET', `${files}?path=/breaks`), /aborted|reset|hang up/)
  assert.equal((await harness.call('GET', '/healthz')).status, 200)
})

test('a watch ends when its client goes', async () => {
  await using harness = await withVm()
  const response = await harness.open('GET', `${files}/watch?path=/srv&recursive`)
  const ended = once(harness.engine.bus, 'watch-ended')
  for await (const chunk of response) if (String(chunk).includes('event: created')) break
  await ended
})

test('the console can be read and followed', async () => {
  await using harness = await withVm()
  assert.equal((await harness.call('GET', '/v1/vms/web/console')).bytes.toString(), 'one\ntwo\nthree\n')
  const tail = await harness.call('GET', '/v1/vms/web/console?tail=1')
  assert.equal(tail.bytes.toString(), 'three\n')
  assert.match(tail.headers['content-type'] ?? '', /^text\/plain/)
  const followed = await harness.open('GET', '/v1/vms/web/console?tail=0&follow')
  while (harness.engine.bus.listenerCount('console') === 0) await new Promise(setImmediate)
  harness.engine.bus.emit('console', 'four\n')
  for await (const chunk of followed) {
    assert.equal(String(chunk), 'four\n')
    break
  }
})

test('an image is imported from the body of the request', async () => {
  await using harness = await Harness.start()
  const data = randomBytes(limits.requestBodyBytes + 1)
  const imported = await harness.call('POST', '/v1/images/import?name=mine&format=tar&wait', {
    raw: Readable.from([data]),
    headers: bytes,
  })
  assert.equal(imported.status, 201)
  assert.equal(imported.json<Image>().storedBytes, data.length)
  const bad = await harness.call('POST', '/v1/images/import?name=mine&format=zip', { raw: 'x', headers: bytes })
  assert.match(bad.problem().detail, /query\.format/)
})
