import { createServer, type Server, type Socket } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { type Log, silentLog } from '../shared/log.ts'
import type { AgentSession } from './session.ts'
import { openTunnel } from './tunnel.ts'

export interface PortForwarderOptions {
  /** called first for each connection, and disposed of at its end; where it rejects, the connection is closed */
  begin?: () => Promise<Disposable>
  /** the session to use for the next connection; undefined while there is none: the connection is closed */
  session: () => AgentSession | undefined
  guestPort: number
  /** address in the guest; default its loopback */
  guestAddress?: string
  /** where to listen; default `127.0.0.1` */
  hostAddress?: string
  /** 0, the default: any free port */
  hostPort?: number
  log?: Log
}

/** Listens on the host and carries each connection into the guest, through whatever session is current. */
export class PortForwarder implements AsyncDisposable {
  readonly hostAddress: string
  readonly hostPort: number
  readonly guestPort: number
  readonly #server: Server
  readonly #sockets: Set<Socket>

  private constructor(server: Server, sockets: Set<Socket>, hostAddress: string, guestPort: number) {
    const bound = server.address()
    this.#server = server
    this.#sockets = sockets
    this.hostAddress = hostAddress
    this.hostPort = typeof bound === 'object' && bound !== null ? bound.port : 0
    this.guestPort = guestPort
  }

  /** @throws RametError `IN_USE` when the address and port are taken, `INVALID_ARGUMENT` when they cannot be had */
  static async listen(options: PortForwarderOptions): Promise<PortForwarder> {
    const { hostAddress = '127.0.0.1', hostPort = 0, guestPort, log = silentLog } = options
    const sockets = new Set<Socket>()
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
      carry(socket, options).catch((error) => {
        log.debug({ guestPort, error: String(error) }, 'forwarded connection ended')
        socket.destroy()
      })
    })
    server.maxConnections = limits.tunnelConnectionCount
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => reject(cannotListen(hostAddress, hostPort, error)))
      server.listen({ host: hostAddress, port: hostPort }, resolve)
    })
    return new PortForwarder(server, sockets, hostAddress, guestPort)
  }

  get connectionCount(): number {
    return this.#sockets.size
  }

  /** Stops listening and cuts the connections there are. */
  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve))
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

async function carry(socket: Socket, options: PortForwarderOptions): Promise<void> {
  // Until the pipelines take over, a reset by the client must find a listener.
  socket.on('error', () => {})
  const { begin, session, guestPort, guestAddress } = options
  using _ = await begin?.()
  if (socket.destroyed) return
  const current = session()
  if (current === undefined) throw new RametError('AGENT_LINK_LOST', { message: 'the guest has no session now' })
  const gone = new AbortController()
  socket.once('close', () => gone.abort())
  const address = guestAddress === undefined ? {} : { address: guestAddress }
  const tunnel = await openTunnel(current, guestPort, { ...address, signal: gone.signal })
  try {
    await Promise.all([pipeline(socket, tunnel, { end: true }), pipeline(tunnel, socket, { end: true })])
  } finally {
    tunnel.destroy()
    socket.destroy()
  }
}

function cannotListen(address: string, port: number, error: Error): RametError {
  const inUse = 'code' in error && error.code === 'EADDRINUSE'
  return new RametError(inUse ? 'IN_USE' : 'INVALID_ARGUMENT', {
    message: `cannot listen on ${address}:${port}`,
    cause: error,
    remediation: inUse
      ? 'Choose another host port, or 0 for any free one.'
      : 'Choose an address and port of this host.',
  })
}
