import { connect } from 'node:net'
import { constants } from 'node:os'
import type { Fields } from '../../wire/field-table.ts'
import { frameType } from '../../wire/frame.ts'
import { defaultWelcome, type PeerConnection, ScriptedPeer } from '../scripted-peer.ts'
import { fileOperations } from './file.ts'
import { FakeProcessTable } from './proc.ts'
import { FakeStream } from './stream.ts'

export interface FakeAgentOptions {
  /** most recent protocol version it speaks; default 2 */
  version?: 1 | 2
}

/**
 * An agent without a guest: the whole protocol over the processes, files and ports of this host. The same suite
 * runs on it and on the real agent.
 */
export class FakeAgent implements AsyncDisposable {
  readonly path: string
  readonly #peer: ScriptedPeer
  readonly #table: FakeProcessTable

  private constructor(peer: ScriptedPeer, table: FakeProcessTable) {
    this.path = peer.path
    this.#peer = peer
    this.#table = table
  }

  static async start({ version = 2 }: FakeAgentOptions = {}): Promise<FakeAgent> {
    const table = new FakeProcessTable()
    const sessions = new Map<PeerConnection, Map<number, FakeStream>>()
    const endSession = (connection: PeerConnection) => {
      for (const stream of sessions.get(connection)?.values() ?? []) stream.end()
      sessions.set(connection, new Map())
    }
    const peer = await ScriptedPeer.listen({
      welcome: (hello) => ({
        ...defaultWelcome,
        version: Math.min(version, hello.versionMax ?? version),
        versionMax: version,
        timeNs: nowNs(),
      }),
      onOpen: (connection) => {
        if (!sessions.has(connection)) connection.socket.once('close', () => endSession(connection))
        endSession(connection)
      },
      onFrame: (frame, connection) => {
        const streams = sessions.get(connection)
        if (frame.type !== frameType.request) {
          streams?.get(frame.stream)?.take(frame)
          return
        }
        const stream = new FakeStream(connection, frame, connection.version >= 2)
        streams?.set(stream.id, stream)
        dispatch(stream, table).catch((error) => stream.respond(refusal(error)))
      },
    })
    return new FakeAgent(peer, table)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#table.killAll()
    await this.#peer[Symbol.asyncDispose]()
  }
}

async function dispatch(stream: FakeStream, table: FakeProcessTable): Promise<void> {
  const { op = '', path = '', processId = 0 } = stream.request
  const file = fileOperations[op]
  if (file !== undefined) return file(stream, path)
  switch (op) {
    case 'ping':
      return stream.respond({ timeNs: nowNs(), monotonicNs: 1n })
    case 'freeze':
    case 'thaw':
    case 'sync':
    case 'proc.resize':
      return stream.respond({ durationNs: 1000n })
    case 'proc.start':
      return table.start(stream)
    case 'proc.attach':
      return table.attach(stream)
    case 'proc.wait':
      return table.wait(stream)
    case 'proc.list':
      return stream.respond({ entry: [...table.processes.values()].map((process) => process.entry()) })
    case 'proc.signal':
      return signal(stream, table)
    case 'proc.detach': {
      const process = table.find(stream)
      if (process === undefined) return
      process.detached = true
      process.release()
      return stream.respond()
    }
    case 'proc.forget':
      if (table.find(stream) === undefined) return
      table.processes.delete(processId)
      return stream.respond()
    case 'tunnel':
      return tunnel(stream)
    case 'metrics':
      return stream.respond({ metric: [{ name: 'processes', value: BigInt(table.processes.size) }] })
    default:
      return stream.respond({ errno: constants.errno.ENOSYS, message: `no operation “${op}”` })
  }
}

function signal(stream: FakeStream, table: FakeProcessTable): void {
  const pid = table.find(stream)?.child.pid
  if (pid === undefined) return
  process.kill(((stream.request.flags ?? 0) & 16) !== 0 ? -pid : pid, stream.request.signal)
  stream.respond()
}

async function tunnel(stream: FakeStream): Promise<void> {
  const socket = connect({
    port: stream.request.port ?? 0,
    host: stream.request.address?.[0] ?? '127.0.0.1',
    allowHalfOpen: true,
  })
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', reject)
  })
  socket.on('error', () => stream.reset(constants.errno.ECONNRESET, 'connection reset'))
  stream.onOver = () => socket.destroy()
  stream.respond()
  socket.on('data', (chunk: Buffer) => {
    stream.send(1, chunk)
    if (stream.room(1) < chunk.length * 2) socket.pause()
  })
  stream.onAck = () => socket.resume()
  socket.on('end', () => stream.eof(1))
  stream.onData = (offset, bytes) => socket.write(bytes, () => stream.ack(offset + bytes.length))
  stream.onEof = () => socket.end()
}

function refusal(error: Error): Fields {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  const errno = new Map<string, number>(Object.entries(constants.errno)).get(code)
  return { errno: errno ?? constants.errno.EIO, message: error.message }
}

function nowNs(): bigint {
  return BigInt(Date.now()) * 1_000_000n
}
