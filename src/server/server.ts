/** The HTTP face of an engine: everything under it is in the types of the API. */
import type { AddressInfo } from 'node:net'
import type { Engine, IdempotencyStore } from '../engine/contract.ts'
import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import type { Log } from '../shared/log.ts'
import { Revert } from '../shared/revert.ts'
import { rametVersion } from '../shared/version.ts'
import type { HttpAccess } from './access.ts'
import { makeApp } from './app.ts'
import { Idempotency } from './idempotency.ts'
import { Metrics } from './metrics.ts'
import { openApiDocument } from './openapi.ts'
import { allRoutes } from './routes.ts'
import type { Serving } from './serve.ts'
import { placeSocket } from './unix-socket.ts'

export interface HttpOptions extends HttpAccess {
  /** address to listen on; loopback */
  host: string
  /** TCP port; 0 for a free one */
  port: number
}

export interface ServerOptions {
  engine: Engine
  /** where the unix socket shall be */
  socketPath: string
  /** group that may use the socket too */
  socketGid?: number | undefined
  /** loopback HTTP beside the socket; none when left out */
  http?: HttpOptions | undefined
  log: Log
  idempotency: IdempotencyStore
  version?: string | undefined
  /** interval of the heartbeats of event streams, milliseconds */
  heartbeatMs?: number | undefined
  /** refuse to send an answer that its own schema refuses; for tests */
  checkAnswers?: boolean | undefined
}

export interface RunningServer {
  readonly socketPath: string
  /** where loopback HTTP listens */
  readonly address?: AddressInfo
  /** Ends all connections and frees socket and port; what the engine does goes on. */
  close(): Promise<void>
}

/**
 * @throws RametError `IN_USE` when a daemon listens there already, `INVALID_ARGUMENT` for an address that is
 *   not loopback, and the errno of `listen`
 */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const held = new Revert((what, error) => options.log.warn({ err: error }, `could not ${what}`))
  await using revert = new Revert()
  revert.add('undo what was begun', () => held[Symbol.asyncDispose]())
  const version = options.version ?? rametVersion
  const routes = allRoutes()
  const observe = new Metrics(options.engine, version)
  held.add('stop the metrics', () => observe.close())
  let document: unknown
  const serving: Serving = {
    engine: options.engine,
    log: options.log,
    version,
    heartbeatMs: options.heartbeatMs ?? limits.eventHeartbeatMs,
    idempotency: new Idempotency(options.idempotency),
    checkAnswers: options.checkAnswers === true,
    openApi: () => (document ??= openApiDocument(routes, version)),
    metrics: () => observe.text(),
  }
  const common = { routes, serving, observe }

  const local = await makeApp(common)
  held.add('close the unix socket', () => local.close())
  const removeSocket = await placeSocket({ path: options.socketPath, gid: options.socketGid }, (path) =>
    local.listen({ path }),
  )
  held.add('remove the unix socket', removeSocket)

  let address: AddressInfo | undefined
  if (options.http !== undefined) {
    const { host, port, ...access } = options.http
    checkLoopback(host)
    const loopback = await makeApp({ ...common, http: access })
    held.add('close the HTTP port', () => loopback.close())
    await loopback.listen({ host, port })
    address = loopback.server.address() as AddressInfo
  }
  revert.keep()
  let closing: Promise<void> | undefined
  return {
    socketPath: options.socketPath,
    ...(address === undefined ? {} : { address }),
    close: () => (closing ??= held[Symbol.asyncDispose]()),
  }
}

/** The token and everything else goes in the clear, so that it must not leave the host. */
function checkLoopback(host: string): void {
  if (host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host)) return
  throw new RametError('INVALID_ARGUMENT', {
    message: `${host} is not a loopback address`,
    remediation: 'Listen on 127.0.0.1, and let a proxy that speaks TLS stand before it.',
  })
}
