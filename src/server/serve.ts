/** Serves one route: reads the request, calls the handler, and sends what comes of it. */

import { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { WebSocket } from 'ws'
import type { z } from 'zod'
import { problemMediaType, toProblem } from '../api/problem.ts'
import type { Action, StoredAnswer } from '../engine/contract.ts'
import { asRametError, type ErrorCode, isRametError, RametError } from '../shared/errors.ts'
import { newId } from '../shared/ids.ts'
import { answerOfAction, answerOfValue, resumeAction } from './answers.ts'
import { checkIdempotencyKey, fingerprintOf, type Idempotency, type Turn } from './idempotency.ts'
import { noQuery, parseOrRefuse } from './problems.ts'
import { type ActionRoute, bytesBody, type Call, type Route, type Surroundings } from './route.ts'

type AnyCall = Call<Record<string, unknown>, Record<string, unknown>, unknown>
type AnyAction = ActionRoute<z.ZodObject, z.ZodObject, z.ZodType>

export interface Serving extends Surroundings {
  readonly idempotency: Idempotency
  /** for tests: an answer that its own schema refuses becomes an error */
  readonly checkAnswers: boolean
}

export async function serve(route: Route, serving: Serving, request: FastifyRequest, reply: FastifyReply) {
  const call = readCall(route, serving, request, reply)
  switch (route.kind) {
    case 'value': {
      const turn = await attemptOnce(route, serving, request, call.operationId, {
        run: async () => answerOfValue(route, await route.handle(call), serving.checkAnswers),
        resume: async () => undefined,
        answer: async (made) => made,
      })
      return sendStored(reply, 'made' in turn ? turn.made : turn.stored)
    }
    case 'action':
      return await serveAction(route, serving, request, reply, call)
    case 'stream': {
      const answer = await route.handle(call)
      reply.code(answer.status ?? 200).headers({ 'content-type': answer.contentType, ...answer.headers })
      reply.send(answer.payload)
      if (answer.live) reply.raw.flushHeaders()
      return reply
    }
    case 'socket':
      throw new RametError('INVALID_ARGUMENT', { message: 'this route is a WebSocket; ask for an upgrade' })
  }
}

/** The same for a connection that has become a WebSocket. */
export function serveSocket(
  route: Extract<Route, { kind: 'socket' }>,
  serving: Serving,
  request: FastifyRequest,
  socket: WebSocket,
): void {
  const gone = new AbortController()
  socket.once('close', () => gone.abort())
  route.connect(
    { ...readInput(route, request), ...surroundingsOf(serving), ...callFacts(request, gone.signal) },
    socket,
  )
}

async function serveAction(
  route: AnyAction,
  serving: Serving,
  request: FastifyRequest,
  reply: FastifyReply,
  call: AnyCall,
) {
  const turn = await attemptOnce<Action<unknown>>(route, serving, request, call.operationId, {
    run: (operationId) => route.handle({ ...call, operationId }),
    resume: (operationId) => resumeAction(serving.engine, operationId),
    answer: (action) => answerOfAction(route, action),
  })
  if ('stored' in turn) return sendStored(reply, turn.stored)
  const { operation, done } = turn.made
  reply.header('ramet-operation', operation.id)
  if (!(call.query.wait ?? route.wait)) {
    reply.code(202).header('location', `/v1/operations/${operation.id}`)
    return reply.send(operation)
  }
  if (call.query.cancelOnDisconnect === true) cancelWhenGone(serving, call.signal, operation.id)
  return sendStored(reply, answerOfValue(route, await done, serving.checkAnswers))
}

function cancelWhenGone(serving: Serving, signal: AbortSignal, operationId: string): void {
  const cancel = () => {
    serving.engine.cancelOperation(operationId).catch((error: unknown) => {
      // Already final: there was nothing to cancel any more.
      if (!isRametError(error, 'ILLEGAL_STATE')) serving.log.warn({ err: error, operationId }, 'could not cancel')
    })
  }
  if (signal.aborted) cancel()
  else signal.addEventListener('abort', cancel, { once: true })
}

interface Steps<T> {
  run(operationId: string): Promise<T>
  resume(operationId: string): Promise<T | undefined>
  answer(made: T): Promise<StoredAnswer>
}

async function attemptOnce<T>(
  route: Route,
  serving: Serving,
  request: FastifyRequest,
  operationId: string,
  steps: Steps<T>,
): Promise<Turn<T>> {
  const key = request.headers['idempotency-key']
  if (route.creates !== true || key === undefined) return { made: await steps.run(operationId) }
  const { wait: _wait, cancelOnDisconnect: _cancel, ...query } = request.query as Record<string, unknown>
  const body = route.body === bytesBody ? request.headers['content-length'] : request.body
  return await serving.idempotency.once({
    key: checkIdempotencyKey(String(key)),
    fingerprint: fingerprintOf([route.operationId, request.params, query, body ?? null]),
    ...steps,
  })
}

function sendStored(reply: FastifyReply, answer: StoredAnswer) {
  reply.code(answer.status).headers(answer.headers)
  return reply.send(answer.body === '' ? undefined : answer.body)
}

function readCall(route: Route, serving: Serving, request: FastifyRequest, reply: FastifyReply): AnyCall {
  const gone = new AbortController()
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) gone.abort()
  })
  const requestedAtMs = performance.now() - reply.elapsedTime
  return { ...readInput(route, request), ...surroundingsOf(serving), ...callFacts(request, gone.signal), requestedAtMs }
}

function callFacts(request: FastifyRequest, signal: AbortSignal) {
  return {
    requestedAtMs: performance.now(),
    operationId: newId('op'),
    signal,
    header: (name: string) => {
      const value = request.headers[name]
      return Array.isArray(value) ? value[0] : value
    },
  }
}

function surroundingsOf(serving: Serving): Surroundings {
  const { engine, log, version, heartbeatMs, openApi, metrics } = serving
  return { engine, log, version, heartbeatMs, openApi, metrics }
}

function readInput(route: Route, request: FastifyRequest) {
  const params = route.params === undefined ? {} : parseOrRefuse(route.params, request.params, 'path')
  const query = parseOrRefuse(route.query ?? noQuery, request.query, 'query')
  return { params, query, body: readBody(route, request) }
}

function readBody(route: Route, request: FastifyRequest): unknown {
  const { body } = request
  if (route.body === bytesBody) {
    const { headers } = request
    if (headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined) return request.raw
    throw new RametError('INVALID_ARGUMENT', { message: 'body: bytes are wanted' })
  }
  // Only JSON is read before it comes here. A page of the web cannot send JSON without asking first.
  if (body instanceof Readable)
    throw new RametError('INVALID_ARGUMENT', { message: 'header.content-type: application/json is wanted' })
  if (route.body === undefined) {
    if (body === undefined || body === null || isEmptyObject(body)) return undefined
    throw new RametError('INVALID_ARGUMENT', { message: 'body: this call takes none' })
  }
  return parseOrRefuse(route.body, body ?? (route.bodyOptional ? {} : body), 'body')
}

function isEmptyObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length === 0
}

/** Sends an error as a problem document. */
export function sendProblem(reply: FastifyReply, cause: unknown, requestId: string) {
  const problem = toProblem(asRametError(cause), requestId)
  reply.code(problem.status).header('content-type', problemMediaType)
  if (problem.code === 'UNAUTHORIZED') reply.header('www-authenticate', 'Bearer realm="ramet"')
  if (problem.retryable && problem.status === 503) reply.header('retry-after', '1')
  if (!reply.request.raw.complete) leaveBody(reply, problem.code)
  return reply.send(JSON.stringify(problem))
}

/**
 * A body that nobody will read. Closing at once would make the system reset the connection, and the client,
 * still sending, would never see the answer; so it is read to its end, unless the caller may not send at all.
 */
function leaveBody(reply: FastifyReply, code: ErrorCode): void {
  const { raw } = reply.request
  if (code === 'UNAUTHORIZED' || code === 'FORBIDDEN' || code === 'TOO_LARGE') reply.header('connection', 'close')
  else raw.unpipe().resume()
}
