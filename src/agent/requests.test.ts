import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isRametError } from '../shared/errors.ts'
import { sampleClock, setClock } from './clock.ts'
import { freeze, freezeFileSystems, freezeForCapture, syncDisks, thaw, thawFileSystems } from './freeze.ts'
import { guestErrno } from './guest-error.ts'
import { runHooks } from './hooks.ts'
import { AgentLink } from './link.ts'
import { readMetrics } from './metrics.ts'
import { PortForwarder } from './port-forwarder.ts'
import { signalNumber } from './proc.ts'
import type { AgentSession } from './session.ts'
import { shutDown } from './shutdown.ts'
import { ScriptedPeer } from './testing/scripted-peer.ts'
import type { Fields } from './wire/field-table.ts'
import { decodeFields } from './wire/fields.ts'

/** A session whose peer answers with `answer`; collects what was asked. */
async function asking(answer: Fields, use: (session: AgentSession) => Promise<unknown>): Promise<Fields[]> {
  const asked: Fields[] = []
  await using peer = await ScriptedPeer.listen({
    onFrame: (frame, connection) => {
      asked.push(decodeFields(frame.payload))
      connection.respond(frame.stream, answer)
    },
  })
  const link = new AgentLink({ path: peer.path })
  try {
    await use(await link.openSession())
  } finally {
    link.close()
  }
  return asked
}

test('from the freeze of a capture until the thaw nothing is sent, and nothing is lost', async () => {
  const operations = async (use: (session: AgentSession, asked: () => string[]) => Promise<void>) => {
    const seen: string[] = []
    await using peer = await ScriptedPeer.listen({
      onFrame: (frame, connection) => {
        seen.push(String(decodeFields(frame.payload).op))
        connection.respond(frame.stream, {})
      },
    })
    const link = new AgentLink({ path: peer.path })
    try {
      await use(await link.openSession(), () => [...seen])
    } finally {
      link.close()
    }
    return seen
  }
  const seen = await operations(async (session, asked) => {
    await freezeForCapture(session)
    const meanwhile = syncDisks(session)
    // Were it sent, the peer would have answered it before a connection made after it is welcomed.
    await operations(async (other) => void (await syncDisks(other)))
    assert.deepEqual(asked(), ['freeze'])
    await Promise.all([thaw(session), meanwhile])
  })
  assert.deepEqual(seen, ['freeze', 'sync', 'thaw'])
})

test('freeze and thaw say what they ask for', async () => {
  const asked = await asking({ durationNs: 2_500_000n }, async (session) => {
    assert.deepEqual(await freeze(session, { timeoutMs: 1234 }), { durationMs: 2.5 })
    await thaw(session)
    await syncDisks(session)
    await freezeFileSystems(session, { timeoutMs: 99 })
    await thawFileSystems(session)
  })
  assert.deepEqual(asked, [
    { op: 'freeze', timeoutMs: 1234 },
    { op: 'thaw' },
    { op: 'sync' },
    { op: 'fs.freeze', timeoutMs: 99 },
    { op: 'fs.thaw' },
  ])
})

test('a failed hook is told with all that ran', async () => {
  const hook = [{ path: '/etc/ramet/post-fork.d/10', exitCode: 3, durationNs: 5_000_000n, output: Buffer.from('no\n') }]
  await asking({ errno: 125, message: 'a hook failed', hook }, async (session) => {
    await assert.rejects(runHooks(session, 'post-fork', { env: { A: 'b' } }), (error) => {
      assert(isRametError(error, 'GUEST_REFUSED'))
      assert.equal(guestErrno(error), 'ECANCELED')
      assert.match(error.remediation, /hook/)
      assert.deepEqual(error.details.hooks, [
        { path: '/etc/ramet/post-fork.d/10', exit: { exitCode: 3 }, durationMs: 5, output: 'no\n' },
      ])
      return true
    })
  })
})

test('hooks that went well', async () => {
  const hook = [{ path: '/a', signal: 9, durationNs: 0n, output: Buffer.alloc(0) }]
  const asked = await asking({ hook }, async (session) => {
    const [result] = await runHooks(session, 'pre-snapshot', { env: { A: 'b' }, timeoutMs: 7 })
    assert.deepEqual(result?.exit, { signal: 9, signalName: 'SIGKILL' })
  })
  assert.deepEqual(asked, [{ op: 'hooks.run', name: 'pre-snapshot', env: ['A=b'], timeoutMs: 7 }])
})

test('metrics by name', async () => {
  const metric = [
    { name: 'cpu.user_ns', value: 2n ** 60n },
    { name: 'processes', value: 3n },
  ]
  await asking({ metric }, async (session) => {
    const metrics = await readMetrics(session)
    assert.equal(metrics.get('processes'), 3)
    assert.equal(metrics.get('cpu.user_ns'), 2 ** 60)
  })
})

test('the clock is compared with the middle of the round trip', async () => {
  const aheadMs = 3000
  const timeNs = BigInt(Math.round((Date.now() + aheadMs) * 1e6))
  const asked = await asking({ timeNs }, async (session) => {
    const sample = await sampleClock(session)
    assert(Math.abs(sample.skewMs - aheadMs) < 200)
    await setClock(session, 10)
  })
  assert.equal(asked[1]?.op, 'clock.set')
})

test('shutdown says how', async () => {
  const asked = await asking({}, async (session) => {
    await shutDown(session)
    await shutDown(session, { reboot: true, atOnce: true })
  })
  assert.deepEqual(asked, [
    { op: 'shutdown', flags: 0 },
    { op: 'shutdown', flags: 3 },
  ])
})

test('signals by name', () => {
  assert.equal(signalNumber('SIGTERM'), 15)
  assert.equal(signalNumber(9), 9)
  assert.throws(() => signalNumber('SIGNONE'), { code: 'INVALID_ARGUMENT' })
})

test('a host port that is taken', async () => {
  await using first = await PortForwarder.listen({ session: () => undefined, guestPort: 80 })
  const again = PortForwarder.listen({ session: () => undefined, guestPort: 80, hostPort: first.hostPort })
  await assert.rejects(again, { code: 'IN_USE' })
})
