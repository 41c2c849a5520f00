/** One fastify application with all routes, for one face: the unix socket or loopback HTTP. */

import type { Socket } from 'node:net'
import { type FastifyInstance, type FastifyRequest, fastify, type RawServerDefault } from 'fastify'
import type { WebSocket } from 'ws'
import { closeCodes } from '../api/exec-socket.ts'
import { problemMediaType, toProblem } from '../api/problem.ts'
import { asRametError, RametError } from '../shared/errors.ts'
import { newId } from '../shared/ids.ts'
import { limits } from '../shared/limits.ts'
import { checkHost, checkOrigin, checkToken, type HttpAccess } from './access.ts'
import type { Metrics } from './metrics.ts'
import { fromHttpLayer } from './problems.ts'
import { bytesBody, type Route } from './route.ts'
import { notReady } from './routes/host.ts'
import { type Serving, sendProblem, serve, serveSocket } from './serve.ts'
import { addWebSockets } from './websockets.ts'

export interface AppOptions {
  routes: readonly Route[]
  serving: Serving
  observe: Metrics
  /** absent for the unix socket */
  http?: HttpAccess
}

export async function makeApp(options: AppOptions): Promise<FastifyInstance<RawServerDefault>> {
  const { serving, observe } = options
  const app = fastify({
    logger: false,
    bodyLimit: limits.requestBodyBytes,
    forceCloseConnections: true,
    exposeHeadRoutes: false,
    genReqId: () => newId('op').replace('op-', 'req-'),
    onProtoPoisoning: 'error',
    onConstructorPoisoning: 'error',
    routerOptions: { maxParamLength: 4 * limits.nameChars },
    clientErrorHandler: answerBadHttp,
    frameworkErrors: (error, request, reply) => {
      sendProblem(reply, fromHttpLayer(error, limits.requestBodyBytes), request.id)
    },
  })
  addParsers(app)
  app.addHook('onRequest', async (request) => admit(options, request))
  app.addHook('onResponse', async (request, reply) => {
    observe.request(operationOf(request) ?? 'none', reply.statusCode, reply.elapsedTime)
    const { id, method, url } = request
    // An upgrade that was refused: its connection has left the HTTP server, which would never close it.
    if (request.headers.upgrade !== undefined) request.raw.socket.destroySoon()
    serving.log.debug({ request: id, method, url, status: reply.statusCode, ms: reply.elapsedTime }, 'request')
  })
  app.setErrorHandler((cause, request, reply) => {
    const error = fromHttpLayer(cause, request.routeOptions.bodyLimit ?? limits.requestBodyBytes)
    if (error.code === 'INTERNAL') serving.log.error({ err: cause, request: request.id }, 'request failed')
    return sendProblem(reply, error, request.id)
  })
  app.setNotFoundHandler((request, reply) => sendProblem(reply, noRoute(request), request.id))
  await addWebSockets(app)
  for (const route of options.routes) if (route.body !== bytesBody) addRoute(app, route, serving)
  app.register(async (streams) => {
    // Bytes are bytes, whatever their type: a JSON file is not to be read into memory.
    streams.removeAllContentTypeParsers()
    streams.addContentTypeParser('*', (_request, payload, done) => done(null, payload))
    for (const route of options.routes) if (route.body === bytesBody) addRoute(streams, route, serving)
  })
  return app
}

/** @throws RametError when this caller, or anybody, may not call now */
function admit({ http, serving }: AppOptions, request: FastifyRequest): void {
  const { headers } = request
  checkOrigin(headers, http?.origins)
  if (http !== undefined) checkHost(headers, http.hosts)
  const { open, early } = request.routeOptions.config as { open?: boolean; early?: boolean }
  if (http !== undefined && open !== true) checkToken(headers, http.token)
  if (early !== true && operationOf(request) !== undefined && !serving.engine.ready()) throw notReady()
}

function operationOf(request: FastifyRequest): string | undefined {
  return (request.routeOptions.config as { operationId?: string } | undefined)?.operationId
}

/** JSON is read whole, within the limit of its route; anything else is left alone, to be refused. */
function addParsers(app: FastifyInstance<RawServerDefault>): void {
  app.removeAllContentTypeParsers()
  const parseJson = app.getDefaultJsonParser('error', 'error')
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    if (body.length === 0) done(null, undefined)
    else void parseJson(request, body as string, done)
  })
  app.addContentTypeParser('*', (_request, payload, done) => done(null, payload))
}

function addRoute(app: FastifyInstance<RawServerDefault>, route: Route, serving: Serving): void {
  const { operationId, open, early } = route
  app.route({
    method: route.method,
    url: route.path.replaceAll(/\{(\w+)\}/g, ':$1'),
    // A stream has a limit of its own, counted as it flows; fastify would count it against memory.
    bodyLimit: route.body === bytesBody ? Number.MAX_SAFE_INTEGER : (route.bodyLimitBytes ?? limits.requestBodyBytes),
    config: { operationId, open, early },
    handler: (request, reply) => serve(route, serving, request, reply),
    ...(route.kind === 'socket'
      ? {
          wsHandler: (socket: WebSocket, request: FastifyRequest) =>
            openSocket(route, serving, socket, request, app.websocketServer.clients),
        }
      : {}),
  })
}

function openSocket(
  route: Extract<Route, { kind: 'socket' }>,
  serving: Serving,
  socket: WebSocket,
  request: FastifyRequest,
  sockets: ReadonlySet<WebSocket>,
): void {
  try {
    if (sockets.size > limits.execSocketCount)
      throw new RametError('NO_CAPACITY', { message: `${limits.execSocketCount} exec sockets are open already` })
    serveSocket(route, serving, request, socket)
  } catch (cause) {
    socket.on('error', () => {})
    socket.send(JSON.stringify({ type: 'error', error: toProblem(asRametError(cause), request.id) }))
    socket.close(closeCodes.error, asRametError(cause).code)
  }
}

function noRoute(request: FastifyRequest): RametError {
  const path = request.url.split('?', 1)[0] ?? ''
  return new RametError('NOT_FOUND', {
    message: `there is no ${request.method} ${path.slice(0, 200)}`,
    remediation: 'See /openapi.json for the calls there are.',
  })
}

/** What is not even HTTP gets an answer by hand. */
function answerBadHttp(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy()
  const problem = toProblem(
    new RametError('INVALID_ARGUMENT', {
      message: `the request cannot be read as HTTP: ${error.code ?? error.message}`,
    }),
  )
  const body = JSON.stringify(problem)
  const head = [
    'HTTP/1.1 400 Bad Request',
    `Content-Type: ${problemMediaType}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
  ]
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`)
}
