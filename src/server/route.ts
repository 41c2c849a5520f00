import type { WebSocket } from 'ws'
import { z } from 'zod'
import type { Action, Engine } from '../engine/contract.ts'
import type { ErrorCode } from '../shared/errors.ts'
import type { Log } from '../shared/log.ts'

/** What the handlers of all routes can use. */
export interface Surroundings {
  readonly engine: Engine
  readonly log: Log
  readonly version: string
  /** interval of the heartbeats of event streams, milliseconds */
  readonly heartbeatMs: number
  /** the OpenAPI document, once all routes are known */
  openApi(): unknown
  /** Prometheus text */
  metrics(): Promise<{ contentType: string; text: string }>
}

/** One request, after validation. */
export interface Call<P, Q, B> extends Surroundings {
  readonly params: P
  readonly query: Q
  readonly body: B
  /** id for the operation that this call may make */
  readonly operationId: string
  /** when the request arrived, on the monotonic clock, milliseconds */
  readonly requestedAtMs: number
  /** aborts when the client is gone before it was answered */
  readonly signal: AbortSignal
  /** a request header, lower-case name */
  header(name: string): string | undefined
}

/** An answer that is bytes, or that needs headers of its own. */
export interface StreamAnswer {
  readonly contentType: string
  readonly headers?: Record<string, string>
  readonly status?: number
  /** send the headers at once: a client that follows something quiet learns that it does */
  readonly live?: boolean
  /** a string or a stream; the stream is destroyed when the client goes */
  readonly payload: string | import('node:stream').Readable
}

interface Common<P extends z.ZodObject, Q extends z.ZodObject, B extends z.ZodType> {
  readonly operationId: string
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** as in OpenAPI: `/v1/vms/{vm}` */
  readonly path: string
  readonly tag: string
  readonly summary: string
  readonly description?: string
  readonly params?: P
  /** strict: an unknown parameter is refused */
  readonly query?: Q
  /** a registered schema (it has a meta id), or bytes that the handler reads as a stream */
  readonly body?: B
  /** the body may be left out; the schema then sees `{}` */
  readonly bodyOptional?: true
  readonly bodyLimitBytes?: number
  /** codes to expect beside the common ones; every one is in the OpenAPI document */
  readonly errors: readonly ErrorCode[]
  /** needs no token */
  readonly open?: true
  /** answered while the engine still adopts what a daemon before left */
  readonly early?: true
  /** takes an `Idempotency-Key` */
  readonly creates?: true
}

export interface ValueRoute<P extends z.ZodObject, Q extends z.ZodObject, B extends z.ZodType> extends Common<P, Q, B> {
  readonly kind: 'value'
  readonly answer: { status: 200 | 201; schema: z.ZodType; location?(value: unknown): string } | { status: 204 }
  handle(call: Call<z.infer<P>, z.infer<Q>, z.infer<B>>): Promise<unknown>
}

export interface ActionRoute<P extends z.ZodObject, Q extends z.ZodObject, B extends z.ZodType>
  extends Common<P, Q, B> {
  readonly kind: 'action'
  readonly answer: { status: 200 | 201; schema: z.ZodType; location?(value: unknown): string } | { status: 204 }
  /** whether it waits for the end when the query does not say */
  readonly wait: boolean
  handle(call: Call<z.infer<P>, z.infer<Q>, z.infer<B>>): Promise<Action<unknown>>
}

export interface StreamRoute<P extends z.ZodObject, Q extends z.ZodObject, B extends z.ZodType>
  extends Common<P, Q, B> {
  readonly kind: 'stream'
  readonly answer: { status: 200; contentType: string; description: string; schema?: z.ZodType }
  handle(call: Call<z.infer<P>, z.infer<Q>, z.infer<B>>): Promise<StreamAnswer>
}

export interface SocketRoute<P extends z.ZodObject, Q extends z.ZodObject, B extends z.ZodType>
  extends Common<P, Q, B> {
  readonly kind: 'socket'
  /** schemas of the text frames */
  readonly messages: { client: z.ZodType; server: z.ZodType }
  connect(call: Call<z.infer<P>, z.infer<Q>, z.infer<B>>, socket: WebSocket): void
}

/** One route: what registers it in fastify, describes it in OpenAPI and serves it, in one object. */
export type Route =
  | ValueRoute<z.ZodObject, z.ZodObject, z.ZodType>
  | ActionRoute<z.ZodObject, z.ZodObject, z.ZodType>
  | StreamRoute<z.ZodObject, z.ZodObject, z.ZodType>
  | SocketRoute<z.ZodObject, z.ZodObject, z.ZodType>

type Spec<T> = Omit<T, 'kind'>

/** A route that answers with a value, at once. */
export function valueRoute<P extends z.ZodObject, Q extends z.ZodObject, B extends z.ZodType>(
  spec: Spec<ValueRoute<P, Q, B>>,
): Route {
  return { kind: 'value', ...spec } as unknown as Route
}

/** A route that starts an action, and answers with its operation (202) or waits for its result. */
export function actionRoute<P extends z.ZodObject, Q extends z.ZodObject, B extends z.ZodType>(
  spec: Spec<ActionRoute<P, Q, B>>,
): Route {
  const query = spec.query === undefined ? z.strictObject(waitQuery) : spec.query.extend(waitQuery)
  return { kind: 'action', ...spec, query } as unknown as Route
}

/** A route that answers with a stream of bytes or of events. */
export function streamRoute<P extends z.ZodObject, Q extends z.ZodObject, B extends z.ZodType>(
  spec: Spec<StreamRoute<P, Q, B>>,
): Route {
  return { kind: 'stream', ...spec } as unknown as Route
}

/** A route that becomes a WebSocket. */
export function socketRoute<P extends z.ZodObject, Q extends z.ZodObject, B extends z.ZodType>(
  spec: Spec<SocketRoute<P, Q, B>>,
): Route {
  return { kind: 'socket', ...spec } as unknown as Route
}

/** Marks a body that is bytes, read by the handler as a stream. */
export const bytesBody = z.custom<import('node:stream').Readable>().meta({ description: 'Bytes.' })

const flag = z.enum(['true', 'false', '']).transform((text) => text !== 'false')

/** What every action takes in its query. */
const waitQuery = {
  wait: flag.optional().describe('Wait for the result; with false the answer is 202 and the operation.'),
  cancelOnDisconnect: flag
    .optional()
    .describe('Cancel the operation if this client goes away while waiting; without it the operation goes on.'),
}
