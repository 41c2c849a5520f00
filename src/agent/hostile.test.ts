import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { isRametError, RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { readFile } from './file-transfer.ts'
import { AgentLink } from './link.ts'
import { AgentProcess } from './process.ts'
import type { AgentSession } from './session.ts'
import { checkProperty } from './testing/property.ts'
import { encodePeerFrame, type PeerConnection, ScriptedPeer } from './testing/scripted-peer.ts'
import { watchPath } from './watch.ts'
import { encodeFields } from './wire/fields.ts'
import { type Frame, frameType } from './wire/frame.ts'

/** A session with a peer that does `answer` at every request. */
async function against(
  answer: (frame: Frame, peer: PeerConnection) => void,
  use: (session: AgentSession) => Promise<void>,
): Promise<void> {
  await using peer = await ScriptedPeer.listen({
    onFrame: (frame, connection) => {
      if (frame.type === frameType.request) answer(frame, connection)
    },
  })
  const link = new AgentLink({ path: peer.path })
  try {
    await use(await link.openSession())
  } finally {
    link.close()
  }
}

const data = (stream: number, offset: number, payload: Buffer) => ({
  type: frameType.data,
  channel: 1 as const,
  stream,
  offset,
  payload,
})

const lies: Record<string, (peer: PeerConnection, stream: number) => void> = {
  'a gap': (peer, stream) => peer.write(data(stream, 5, Buffer.from('x'))),
  'more than the window': (peer, stream) => {
    for (let at = 0; at <= limits.streamWindowBytes; at += 65_536) peer.write(data(stream, at, Buffer.alloc(65_536)))
  },
  'data without a byte': (peer, stream) => peer.write(data(stream, 0, Buffer.alloc(0))),
  'data after the end': (peer, stream) => {
    peer.write({ type: frameType.eof, channel: 1, stream })
    peer.write(data(stream, 0, Buffer.from('x')))
  },
  'an end too far': (peer, stream) => peer.write({ type: frameType.eof, channel: 1, stream, offset: 7 }),
  'data towards itself': (peer, stream) => peer.write({ ...data(stream, 0, Buffer.from('x')), channel: 0 }),
  'an acknowledgement of nothing': (peer, stream) => peer.write({ type: frameType.ack, stream, offset: 9 }),
  'a second answer': (peer, stream) => peer.respond(stream),
  'an exit before its output has ended': (peer, stream) =>
    peer.write({ type: frameType.event, stream, payload: encodeFields({ op: 'exit', exitCode: 0 }) }),
}

for (const [name, lie] of Object.entries(lies)) {
  test(`${name} costs the guest its stream, not its session`, async () => {
    await against(
      (frame, peer) => {
        peer.respond(frame.stream, { processId: 1, pid: 1, timeNs: 1n })
        if (frame.stream === 1) lie(peer, frame.stream)
      },
      async (session) => {
        const process = await AgentProcess.start(session, { args: ['x'] })
        await assert.rejects(Array.fromAsync(process.output), { code: 'AGENT_PROTOCOL' })
        await assert.rejects(process.exit, { code: 'AGENT_PROTOCOL' })
        await session.request('ping')
        assert.equal(session.streamCount, 0)
      },
    )
  })
}

const offences: Record<string, Buffer> = {
  'an unknown type': encodePeerFrame({ type: 11 as Frame['type'] }),
  'a frame of the host': encodePeerFrame({ type: frameType.request, stream: 1 }),
  'a second welcome': encodePeerFrame({ type: frameType.welcome }),
  'half a field': encodePeerFrame({ type: frameType.response, stream: 1, payload: Buffer.alloc(3) }),
  'an offset beyond all': encodePeerFrame({ type: frameType.ack, stream: 1, offset: 2 ** 52 }),
  'a goodbye': encodePeerFrame({ type: frameType.bye, payload: encodeFields({ errno: 71, message: 'bad frame' }) }),
}

for (const [name, bytes] of Object.entries(offences)) {
  test(`${name} ends the session`, async () => {
    await against(
      (_frame, peer) => peer.socket.write(bytes),
      async (session) => {
        await assert.rejects(session.request('ping'), { code: 'AGENT_PROTOCOL' })
        assert.equal((await session.closed).code, 'AGENT_PROTOCOL')
      },
    )
  })
}

test('an answer without an errno, or without a field it must have, is the agent’s mistake', async () => {
  await against(
    (frame, peer) => {
      if (frame.stream === 1) peer.write({ type: frameType.response, stream: 1 })
      else peer.respond(frame.stream)
    },
    async (session) => {
      await assert.rejects(session.request('ping'), { code: 'AGENT_PROTOCOL' })
      await assert.rejects(readFile(session, '/x'), { code: 'AGENT_PROTOCOL' })
      assert.equal(session.open, true)
    },
  )
})

test('frames for streams that nobody opened, or that have ended, are ignored', async () => {
  await against(
    (frame, peer) => {
      for (const stream of [77, 0, 4_000_000_000]) peer.write(data(stream, 0, Buffer.from('x')))
      peer.respond(frame.stream, { timeNs: 1n })
      peer.respond(frame.stream, { timeNs: 1n })
    },
    async (session) => {
      for (let count = 0; count < 3; count += 1) await session.request('ping')
      assert.equal(session.open, true)
    },
  )
})

test('a request that is not answered is given up, and its late answer ignored', async () => {
  const late: (() => void)[] = []
  await against(
    (frame, peer) => {
      if (frame.stream === 1) late.push(() => peer.respond(1))
      else peer.respond(frame.stream)
    },
    async (session) => {
      await assert.rejects(session.request('sync', {}, { timeoutMs: 10 }), { code: 'GUEST_UNREACHABLE' })
      const cancel = new AbortController()
      setImmediate(() => cancel.abort())
      for (const answer of late) answer()
      await session.request('ping', {}, { signal: cancel.signal }).catch(() => {})
      await session.request('ping')
      assert.equal(session.streamCount, 0)
    },
  )
})

test('single bytes by the window do not cost memory by the byte', async () => {
  await against(
    (frame, peer) => {
      peer.respond(frame.stream, { processId: 1, timeNs: 1n })
      if (frame.stream > 1) return
      const frames: Buffer[] = []
      for (let at = 0; at < limits.streamWindowBytes / 2; at += 1) {
        const channel = at % 2 === 0 ? 1 : 2
        frames.push(encodePeerFrame({ ...data(1, Math.floor(at / 2), Buffer.from('x')), channel }))
      }
      peer.socket.write(Buffer.concat(frames))
    },
    async (session) => {
      const process = await AgentProcess.start(session, { args: ['x'] })
      await session.request('ping')
      const received = { 1: 0, 2: 0 }
      let items = 0
      for await (const item of process.output) {
        items += 1
        if (item.kind === 'data') {
          assert.equal(item.offset, received[item.channel])
          received[item.channel] += item.bytes.length
        }
        if (received[1] + received[2] === limits.streamWindowBytes / 2) break
      }
      assert(items < 1000, `${items} items`)
    },
  )
})

test('a flood of events becomes one overflow', async () => {
  await against(
    (frame, peer) => {
      peer.respond(frame.stream, { timeNs: 1n })
      if (frame.stream > 1) return
      const event = encodePeerFrame({
        type: frameType.event,
        stream: 1,
        payload: encodeFields({ op: 'file', action: 'created', path: '/x' }),
      })
      for (let count = 0; count < limits.watchQueueCount + 10; count += 1) peer.socket.write(event)
    },
    async (session) => {
      const watch = await watchPath(session, '/')
      await session.request('ping')
      for await (const event of watch) {
        assert.equal(event.action, 'overflow')
        break
      }
    },
  )
})

test('too many requests at once are refused here', async () => {
  await against(
    () => {},
    async (session) => {
      const waiting = Array.from({ length: limits.linkStreamCount }, () => session.request('ping'))
      await assert.rejects(session.request('ping'), { code: 'NO_CAPACITY' })
      session.end(new RametError('AGENT_LINK_LOST', { message: 'the end of the test' }))
      for (const request of waiting) await assert.rejects(request)
    },
  )
})

const floods: Record<string, Buffer> = {
  'frames for streams that nobody opened': encodePeerFrame(data(77, 0, Buffer.alloc(1000))),
  'acknowledgements of nothing new': encodePeerFrame({ type: frameType.ack, stream: 1 }),
}

for (const [name, frame] of Object.entries(floods)) {
  test(`a flood of ${name} ends the session`, async () => {
    await against(
      (request, peer) => {
        peer.respond(request.stream, { processId: 1 })
        peer.socket.write(Buffer.concat(Array.from({ length: limits.linkStrayBytes / frame.length + 2 }, () => frame)))
      },
      async (session) => {
        await AgentProcess.start(session, { args: ['x'] })
        assert.equal((await session.closed).code, 'AGENT_PROTOCOL')
      },
    )
  })
}

test('a guest that does not read loses its connection before it fills our memory', async () => {
  await against(
    (_frame, peer) => peer.socket.pause(),
    async (session) => {
      const path = 'x'.repeat(60_000)
      let error: unknown
      for (let count = 0; session.open; count += 1) {
        assert(count * path.length < 2 * limits.linkQueueBytes, 'the queue has no end')
        error = await session.request('file.stat', { path }, { timeoutMs: 0 }).catch((reason) => reason)
      }
      assert(isRametError(error))
      assert.equal((await session.closed).code, 'AGENT_LINK_LOST')
    },
  )
})

test('a link lost at every byte of an answer rejects what waits', async () => {
  const answer = encodePeerFrame({
    type: frameType.response,
    stream: 1,
    payload: encodeFields({ errno: 0, timeNs: 1n }),
  })
  for (let cut = 0; cut < answer.length; cut += 1) {
    await against(
      (_frame, peer) => peer.socket.end(answer.subarray(0, cut)),
      async (session) => {
        await assert.rejects(session.request('ping'), { code: 'AGENT_LINK_LOST' })
      },
    )
  }
})

test('a session survives or ends by code, whatever frames a guest sends', async () => {
  const frame = fc
    .record({
      type: fc.constantFrom(...Object.values(frameType)),
      channel: fc.constantFrom(0 as const, 1 as const, 2 as const),
      stream: fc.nat(3),
      offset: fc.oneof(fc.nat(10), fc.nat(300_000)),
      payload: fc.oneof(
        fc.constant(encodeFields({ errno: 0, processId: 1, exitCode: 0, op: 'exit' })),
        fc.constant(encodeFields({ errno: 2, message: 'no' })),
        fc.uint8Array({ maxLength: 30 }).map((bytes) => Buffer.from(bytes)),
      ),
    })
    .map(encodePeerFrame)
  const cases: Buffer[] = []
  checkProperty(
    fc.property(fc.array(frame, { maxLength: 12 }), (frames) => {
      cases.push(Buffer.concat(frames))
    }),
    150,
  )
  for (const bytes of cases) {
    await against(
      (_frame, peer) => peer.socket.end(bytes),
      async (session) => {
        const results = await Promise.allSettled([
          AgentProcess.start(session, { args: ['x'] }).then((process) => Array.fromAsync(process.output)),
          session.request('ping'),
        ])
        for (const result of results) if (result.status === 'rejected') assert(isRametError(result.reason))
        assert(isRametError(await session.closed))
      },
    )
  }
})
