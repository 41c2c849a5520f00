import { request as httpRequest, type IncomingMessage, type RequestOptions as NodeRequestOptions } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { errnoOf } from '../shared/errors.ts'
import { errorOfResponse, localError, type RametApiError } from './errors.ts'
import type { Target } from './settings.ts'

export type QueryValue = string | number | boolean | readonly string[] | undefined

export interface ApiRequest {
  method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** absolute, without a query; made by {@link path} so that names are escaped */
  path: string
  query?: Record<string, QueryValue>
  /** sent as JSON */
  json?: unknown
  /** sent as it is */
  body?: Uint8Array | AsyncIterable<Uint8Array>
  headers?: Record<string, string>
  signal?: AbortSignal | undefined
}

/** A path with every value escaped: path`/v1/vms/${ref}`. */
export function path(parts: TemplateStringsArray, ...values: string[]): string {
  return parts.reduce((text, part, index) => text + encodeURIComponent(values[index - 1] ?? '') + part)
}

const unreachableErrnos = ['ENOENT', 'ECONNREFUSED', 'ENOTFOUND', 'EHOSTUNREACH', 'ENETUNREACH', 'EAI_AGAIN']

/** Whether nothing of the request can have reached a daemon. */
export function neverReached(error: unknown): boolean {
  return error instanceof Error && unreachableErrnos.includes(errnoOf(error.cause) ?? '')
}

/** Sends requests to one daemon. Each has a connection of its own: over a socket that costs less than a stale one. */
export class Transport {
  readonly target: Target
  readonly #onUnreachable: ((error: RametApiError) => Promise<void>) | undefined
  readonly signal: AbortSignal | undefined

  constructor(
    target: Target,
    options: {
      signal?: AbortSignal | undefined
      onUnreachable?: ((error: RametApiError) => Promise<void>) | undefined
    } = {},
  ) {
    this.target = target
    this.signal = options.signal
    this.#onUnreachable = options.onUnreachable
  }

  /** The body of a successful answer as JSON. @throws RametApiError, the signal's reason */
  async json<T>(request: ApiRequest): Promise<T> {
    return (await this.answer<T>(request)).body
  }

  /** The same, with the status. */
  async answer<T>(request: ApiRequest): Promise<{ status: number; body: T }> {
    const response = await this.stream(request)
    const text = await readText(response)
    if (text === '') return { status: response.statusCode ?? 0, body: undefined as T }
    try {
      return { status: response.statusCode ?? 0, body: JSON.parse(text) as T }
    } catch (cause) {
      throw localError('INTERNAL', 'the answer of the daemon is not JSON', { cause })
    }
  }

  /** A successful answer, its body to be read by the caller. @throws RametApiError, the signal's reason */
  async stream(request: ApiRequest): Promise<IncomingMessage> {
    const signal = this.withDefault(request.signal)
    const response = await this.reaching(() => this.#send({ ...request, signal }), signal)
    const status = response.statusCode ?? 0
    if (status >= 200 && status < 300) return response
    throw errorOfResponse(status, await readText(response))
  }

  /** Tries again once if nothing was there and somebody could do something about it. */
  async reaching<T>(attempt: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    try {
      return await attempt()
    } catch (error) {
      signal?.throwIfAborted()
      if (this.#onUnreachable === undefined || !neverReached(error)) throw error
      await this.#onUnreachable(error as RametApiError)
      return await attempt()
    }
  }

  /** The caller's signal and that of the whole client. */
  withDefault(signal: AbortSignal | undefined): AbortSignal | undefined {
    if (signal === undefined || this.signal === undefined) return signal ?? this.signal
    return AbortSignal.any([signal, this.signal])
  }

  headers(): Record<string, string> {
    return this.target.token === undefined ? {} : { authorization: `Bearer ${this.target.token}` }
  }

  async #send(request: ApiRequest): Promise<IncomingMessage> {
    request.signal?.throwIfAborted()
    const { socketPath, url } = this.target
    const send = url.protocol === 'https:' ? httpsRequest : httpRequest
    const payload = request.json === undefined ? undefined : Buffer.from(JSON.stringify(request.json))
    const options: NodeRequestOptions = {
      method: request.method ?? 'GET',
      path: url.pathname.replace(/\/$/, '') + request.path + queryText(request.query),
      agent: false,
      headers: {
        ...this.headers(),
        accept: 'application/json, application/problem+json',
        ...(payload === undefined ? {} : { 'content-type': 'application/json', 'content-length': payload.length }),
        ...request.headers,
      },
      ...(request.signal === undefined ? {} : { signal: request.signal }),
      ...(socketPath === undefined ? { host: url.hostname.replace(/^\[|\]$/g, ''), port: url.port } : { socketPath }),
    }
    return await new Promise((resolve, reject) => {
      const outgoing = send(options, resolve)
      outgoing.on('error', (error) => reject(request.signal?.aborted ? request.signal.reason : this.#lost(error)))
      if (request.body === undefined) outgoing.end(payload)
      else if (request.body instanceof Uint8Array) outgoing.end(request.body)
      else pipeline(Readable.from(request.body, { objectMode: false }), outgoing).catch(reject)
    })
  }

  #lost(cause: Error): RametApiError {
    const where = this.target.socketPath ?? this.target.url.origin
    return localError('DAEMON_UNREACHABLE', `the Ramet daemon cannot be reached at ${where}`, { cause })
  }
}

export function queryText(query: Record<string, QueryValue> | undefined): string {
  const search = new URLSearchParams()
  for (const [key, value] of Object.entries(query ?? {})) {
    if (value === undefined) continue
    for (const item of Array.isArray(value) ? value : [value]) search.append(key, String(item))
  }
  const text = search.toString()
  return text === '' ? '' : `?${text}`
}

async function readText(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  try {
    for await (const chunk of response) chunks.push(chunk)
  } catch (cause) {
    if (cause instanceof Error && cause.name === 'AbortError') throw cause
    throw localError('DAEMON_UNREACHABLE', 'the connection to the Ramet daemon broke in the middle of an answer', {
      cause,
    })
  }
  return Buffer.concat(chunks).toString('utf8')
}
