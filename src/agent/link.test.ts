import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { type Clock, systemClock } from '../shared/clock.ts'
import { isRametError } from '../shared/errors.ts'
import { AgentLink, type LinkState } from './link.ts'
import { bootSchedule } from './opening.ts'
import { defaultWelcome, ScriptedPeer } from './testing/scripted-peer.ts'
import { decodeFields } from './wire/fields.ts'
import { frameType } from './wire/frame.ts'
import { marker } from './wire/marker.ts'

test('a session opens and a request is answered', async () => {
  await using peer = await ScriptedPeer.listen({
    onFrame: (frame, connection) => {
      assert.equal(decodeFields(frame.payload).op, 'ping')
      connection.respond(frame.stream, { timeNs: 5n })
    },
  })
  const states: LinkState[] = []
  const link = new AgentLink({ path: peer.path, onState: (state) => states.push(state) })
  const session = await link.openSession()
  assert.equal(session.version, 2)
  assert.equal((await session.request('ping')).timeNs, 5n)
  assert.equal(session.streamCount, 0)
  link.close()
  assert.equal((await session.closed).code, 'AGENT_LINK_LOST')
  assert.deepEqual(states, ['connecting', 'opening', 'open', 'closed'])
})

test('the opening is repeated until it is answered, and the last nonce counts', async () => {
  const nonces: number[] = []
  await using peer = await ScriptedPeer.listen({
    welcome: (_hello, opening) => {
      nonces.push(opening)
      return opening < 3 ? undefined : { ...defaultWelcome, generation: opening }
    },
  })
  const link = new AgentLink({ path: peer.path })
  const session = await link.openSession({ schedule: [5, 5, 10_000] })
  assert.equal(session.welcome.generation, 3)
  assert.deepEqual(nonces, [1, 2, 3])
  link.close()
})

test('an answer to an earlier opening does not open a session', async () => {
  await using peer = await ScriptedPeer.listen({
    welcome: (_hello, opening) => ({ ...defaultWelcome, generation: opening }),
  })
  const link = new AgentLink({ path: peer.path, clock: repeatingClock() })
  const session = await link.openSession()
  assert.equal(session.welcome.generation, 2)
  link.close()
})

/** A clock whose first pause before a repeat is over at once: two openings are written back to back. */
function repeatingClock(): Clock {
  let repeats = 0
  return {
    ...systemClock,
    sleep: (ms, signal) => {
      if (ms === bootSchedule[0]) repeats += 1
      return ms === bootSchedule[0] && repeats === 1 ? Promise.resolve() : systemClock.sleep(ms, signal)
    },
  }
}

test('bytes of an earlier session before the answer are dropped, whatever they are', async () => {
  await using peer = await ScriptedPeer.listen()
  const link = new AgentLink({ path: peer.path })
  const opening = link.openSession()
  while (peer.connections.length === 0) await new Promise(setImmediate)
  peer.connections[0]?.socket.write(Buffer.concat([Buffer.alloc(100, 0xff), marker, Buffer.alloc(7)]))
  assert.equal((await opening).open, true)
  link.close()
})

test('no common version: the error names both ranges', async () => {
  await using peer = await ScriptedPeer.listen({ welcome: () => ({ errno: 93, versionMin: 7, versionMax: 9 }) })
  const link = new AgentLink({ path: peer.path })
  await assert.rejects(link.openSession(), (error) => {
    assert(isRametError(error, 'AGENT_PROTOCOL'))
    assert.match(error.message, /versions 7 to 9, this host 1 to 2/)
    return true
  })
  assert.equal(link.state, 'lost')
})

test('nobody answers: the guest is unreachable, in the time given', async () => {
  await using peer = await ScriptedPeer.listen({ welcome: () => undefined })
  const link = new AgentLink({ path: peer.path })
  await assert.rejects(link.openSession({ timeoutMs: 20 }), { code: 'GUEST_UNREACHABLE' })
})

test('nobody listens: the link is lost', async () => {
  await using peer = await ScriptedPeer.listen()
  const link = new AgentLink({ path: `${peer.path}.none` })
  await assert.rejects(link.openSession(), { code: 'AGENT_LINK_LOST' })
})

test('a cancelled opening leaves no connection', async () => {
  await using peer = await ScriptedPeer.listen({ welcome: () => undefined })
  const cancel = new AbortController()
  const link = new AgentLink({
    path: peer.path,
    onState: (state) => {
      if (state === 'opening') setImmediate(() => cancel.abort())
    },
  })
  await assert.rejects(link.openSession({ signal: cancel.signal }), { code: 'CANCELLED' })
  while (peer.connections.length === 0) await new Promise(setImmediate)
  const socket = peer.connections[0]?.socket
  if (socket !== undefined && !socket.closed) await once(socket, 'close')
})

test('loss of the connection rejects what waits; a new session opens on a new connection', async () => {
  await using peer = await ScriptedPeer.listen({
    onFrame: (frame, connection) => {
      if (decodeFields(frame.payload).op === 'sync') connection.socket.destroy()
      else connection.respond(frame.stream)
    },
  })
  const link = new AgentLink({ path: peer.path })
  const session = await link.openSession()
  await assert.rejects(session.request('sync'), { code: 'AGENT_LINK_LOST' })
  assert.equal(session.open, false)
  await assert.rejects(session.request('thaw'), { code: 'AGENT_LINK_LOST' })
  const again = await link.openSession()
  await again.request('thaw')
  assert.equal(peer.connections.length, 2)
  link.close()
})

test('a second session on the same connection replaces the first', async () => {
  await using peer = await ScriptedPeer.listen({ onFrame: (frame, connection) => connection.respond(frame.stream) })
  const link = new AgentLink({ path: peer.path })
  const first = await link.openSession()
  const second = await link.openSession()
  assert.equal((await first.closed).code, 'AGENT_LINK_LOST')
  await second.request('thaw')
  assert.equal(peer.connections.length, 1)
  link.close()
})

test('a frame that makes no sense ends the session and nothing else', async () => {
  await using peer = await ScriptedPeer.listen({
    onFrame: (frame, connection) => {
      if (frame.type === frameType.request) connection.socket.write(Buffer.alloc(20, 0xee))
    },
  })
  const link = new AgentLink({ path: peer.path })
  const session = await link.openSession()
  await assert.rejects(session.request('ping'), { code: 'AGENT_PROTOCOL' })
  assert.equal((await session.closed).code, 'AGENT_PROTOCOL')
  assert.equal(link.state, 'lost')
})
