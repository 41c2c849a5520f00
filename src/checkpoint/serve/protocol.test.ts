import assert from 'node:assert/strict'
import process from 'node:process'
import { test } from 'node:test'
import { isRametError } from '../../shared/errors.ts'
import { randomOf } from '../file/testing/sample.ts'
import type { CacheReport } from './cache-schema.ts'
import {
  type Answer,
  encodeLine,
  idOf,
  parseMessage,
  parseRequest,
  type RestoreRequest,
  type ServerRequest,
} from './protocol.ts'
import { emptyStats } from './testing/empty-stats.ts'

// Each case follows from its number alone: RAMET_FUZZ_SEED=N replays case N, RAMET_FUZZ_CASES=N runs more of them.
const caseCount = Number(process.env.RAMET_FUZZ_CASES ?? 5000)
const only = process.env.RAMET_FUZZ_SEED

const restore: RestoreRequest = {
  restoreId: 'vm-1',
  vmName: 'one',
  checkpoint: { path: '/var/lib/ramet/snapshots/s/memory.ckpt' },
  digest: 'a'.repeat(64),
  qemuSocket: '/var/lib/ramet/vms/vm-1/restore.sock',
  qemuProcess: { pid: 1, startTime: 2, bootId: 'b' },
  policy: 'auto',
  fill: 'paced',
  workingSetPath: null,
  storeDelayMs: 0,
  takeOver: false,
}

const requests: ServerRequest[] = [
  { id: 1, do: 'hello' },
  { id: 2, do: 'serve', restore },
  {
    id: 3,
    do: 'serve',
    restore: { ...restore, checkpoint: { url: 'https://host/a' }, base: { path: '/b', id: 'base-1' } },
  },
  { id: 4, do: 'hurry', restoreId: 'vm-1' },
  { id: 5, do: 'mark', restoreId: 'vm-1', name: 'agent' },
  { id: 6, do: 'list' },
  { id: 7, do: 'drop', restoreId: 'vm-1' },
  {
    id: 8,
    do: 'prepare',
    source: {
      ...{ checkpoint: { path: '/data/a.ckpt' }, digest: 'a'.repeat(64), policy: 'auto' },
      ...{ workingSetPath: null, storeDelayMs: 0 },
    },
  },
  { id: 9, do: 'cache' },
  { id: 10, do: 'give-back', bytes: 512 * 1024 * 1024 },
]

const cache: CacheReport = {
  ...{
    kind: 'kernel',
    heldBytes: 131_072,
    freeHeldBytes: 131_072,
    capacityBytes: 2 ** 33,
    hits: 7,
    misses: 2,
    lost: 1,
  },
  ...{ puts: 3, refused: 0, replaced: 0, lazyFreeBytes: 126_976 },
}

const error = { code: 'CHECKPOINT_DAMAGED', message: 'm', remediation: 'r' } as const

test('requests arrive as they were sent', () => {
  for (const request of requests) assert.deepEqual(parseRequest(encodeLine(request)), request)
})

test('answers and notices arrive as they were sent', () => {
  const messages = [
    { id: 1, ok: true, server: { protocol: 2, version: '0.1.0', pid: 4 } },
    { id: 2, ok: true, stats: emptyStats },
    { id: 3, ok: true, restores: [{ restoreId: 'vm-1', vmName: 'one', stats: emptyStats }] },
    { id: 4, ok: false, error },
    { id: 5, ok: true, cache },
    { id: 6, ok: true, gaveBackBytes: 0, cache: { ...cache, kind: 'lru' } },
    { notice: 'failed', restoreId: 'vm-1', stats: emptyStats, error },
    { notice: 'completed', restoreId: 'vm-1', stats: emptyStats },
  ] as const
  for (const message of messages) {
    const sent = { ...message } as Parameters<typeof encodeLine>[0]
    assert.deepEqual(parseMessage(encodeLine(sent)), sent)
  }
})

test('a request of another kind is refused, and its id found', () => {
  const refused: object[] = [
    { id: 1, do: 'nothing' },
    { id: -1, do: 'list' },
    { do: 'list' },
    { id: 1, do: 'serve', restore: { ...restore, digest: 'a' } },
    { id: 1, do: 'serve', restore: { ...restore, qemuSocket: 'restore.sock' } },
    { id: 1, do: 'serve', restore: { ...restore, checkpoint: {} } },
    { id: 1, do: 'serve', restore: { ...restore, policy: 'best' } },
    { id: 1, do: 'mark', restoreId: 'vm-1', name: '' },
    { id: 1, do: 'give-back' },
    { id: 1, do: 'give-back', bytes: -1 },
    { id: 1, do: 'give-back', bytes: 0.5 },
  ]
  for (const request of refused) {
    const line = JSON.stringify(request)
    assert.throws(() => parseRequest(line), { code: 'INVALID_ARGUMENT' }, line)
  }
  assert.equal(idOf('{"id":7,"do":"nothing"}'), 7)
  assert.equal(idOf('{"id":"7"}'), undefined)
  assert.equal(idOf('nothing'), undefined)
})

test('figures that are none are no answer', () => {
  const { hits: _, ...fewer } = cache
  for (const wrong of [fewer, { ...cache, kind: 'page-cache' }, { ...cache, lost: -1 }, { ...cache, puts: '3' }]) {
    const line = JSON.stringify({ id: 5, ok: true, cache: wrong })
    assert.throws(() => parseMessage(line), { code: 'INVALID_ARGUMENT' }, line)
  }
})

test('an error of an unknown code is no answer', () => {
  const line = JSON.stringify({ id: 1, ok: false, error: { ...error, code: 'toString' } })
  assert.throws(() => parseMessage(line), { code: 'INVALID_ARGUMENT' })
})

test('no line brings either parser down', () => {
  const answers: Answer[] = [
    { id: 2, ok: true, stats: emptyStats },
    { id: 10, ok: true, gaveBackBytes: 1, cache },
  ]
  const lines = [...requests.map(encodeLine), ...answers.map(encodeLine)]
  const cases = only === undefined ? Array.from({ length: caseCount }, (_, index) => index + 1) : [Number(only)]
  for (const seed of cases) {
    const random = randomOf(seed)
    const line = mutate(lines[random(lines.length)] ?? '', random)
    for (const parse of [parseRequest, parseMessage]) {
      try {
        parse(line)
      } catch (thrown) {
        assert.ok(isRametError(thrown, 'INVALID_ARGUMENT'), `RAMET_FUZZ_SEED=${seed}: ${thrown}`)
      }
    }
  }
})

const tokens = ['{', '}', '"', ':', ',', 'null', '1e999', '-1', '[]', '{"__proto__":1}', '\u0000', '"do":"list"']

function mutate(line: string, random: (below: number) => number): string {
  let text = line
  for (let step = 0; step <= random(4); step += 1) {
    const at = random(text.length + 1)
    const kind = random(3)
    if (kind === 0) text = text.slice(0, at) + text.slice(at + 1 + random(20))
    if (kind === 1) text = text.slice(0, at) + (tokens[random(tokens.length)] ?? '') + text.slice(at)
    if (kind === 2) text = text.slice(0, at) + String.fromCharCode(random(256)) + text.slice(at + 1)
  }
  return text
}
