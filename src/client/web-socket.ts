import type { IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { WebSocket } from 'ws'
import { errorOfResponse, localError } from './errors.ts'
import type { Transport } from './transport.ts'

/** A message: text, or bytes. */
export type SocketMessage = string | Uint8Array

/** What is told of a socket that has been opened; `closed` is the last. */
export interface SocketListener {
  message(message: SocketMessage): void
  closed(code: number): void
}

/** What one can do with an open socket. Sending on a closed one does nothing: the close is told apart. */
export interface Socket {
  send(message: SocketMessage): void
  close(code: number): void
  /** breaks the connection without a word, as a crash would */
  terminate(): void
}

const mostMessageBytes = 4 * 1024 * 1024
const openTimeoutMs = 10_000

/** Opens a WebSocket to the daemon, over its unix socket too. @throws RametApiError, the signal's reason */
export async function openSocket(
  transport: Transport,
  request: { path: string; subprotocol: string; signal?: AbortSignal | undefined },
  listener: SocketListener,
): Promise<Socket> {
  return await transport.reaching(() => attempt(transport, request, listener), request.signal)
}

function attempt(
  transport: Transport,
  request: { path: string; subprotocol: string; signal?: AbortSignal | undefined },
  listener: SocketListener,
): Promise<Socket> {
  request.signal?.throwIfAborted()
  const { socketPath, url } = transport.target
  const address =
    socketPath === undefined
      ? `${url.origin.replace(/^http/, 'ws')}${url.pathname.replace(/\/$/, '')}${request.path}`
      : `ws://localhost${request.path}`
  const socket = new WebSocket(address, request.subprotocol, {
    headers: transport.headers(),
    // Not in the address, which would be percent-encoded: a path may have any character.
    ...(socketPath === undefined ? {} : { createConnection: () => connect(socketPath) }),
    maxPayload: mostMessageBytes,
    perMessageDeflate: false,
    handshakeTimeout: openTimeoutMs,
  })
  return new Promise((resolve, reject) => {
    const onAbort = () => {
      reject(request.signal?.reason)
      socket.terminate()
    }
    request.signal?.addEventListener('abort', onAbort, { once: true })
    const settled = () => request.signal?.removeEventListener('abort', onAbort)
    socket.on('unexpected-response', (_request, response) => {
      settled()
      refusal(response).then(reject, reject)
      socket.terminate()
    })
    socket.on('error', (cause) => {
      settled()
      const where = socketPath ?? url.origin
      reject(localError('DAEMON_UNREACHABLE', `the Ramet daemon cannot be reached at ${where}`, { cause }))
    })
    socket.on('message', (data, isBinary) => {
      const bytes = Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data as Buffer)
      listener.message(isBinary ? bytes : bytes.toString('utf8'))
    })
    socket.on('open', () => {
      settled()
      socket.on('close', (code) => listener.closed(code))
      resolve({
        send: (message) => {
          if (socket.readyState === WebSocket.OPEN) socket.send(message)
        },
        close: (code) => socket.close(code),
        terminate: () => socket.terminate(),
      })
    })
  })
}

async function refusal(response: IncomingMessage): Promise<Error> {
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk)
  return errorOfResponse(response.statusCode ?? 0, Buffer.concat(chunks).toString('utf8'))
}
