/** A server on real sockets over the fake engine, for one test; and calls that hold its answers to its document. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { type IncomingMessage, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { WebSocket } from 'ws'
import type { Problem } from '../../api/problem.ts'
import type { IdempotencyStore } from '../../engine/contract.ts'
import { silentLog } from '../../shared/log.ts'
import { memoryIdempotencyStore } from '../idempotency.ts'
import { errorCodesOf } from '../openapi.ts'
import type { Route } from '../route.ts'
import { allRoutes } from '../routes.ts'
import { type RunningServer, startServer } from '../server.ts'
import { FakeEngine } from './fake-engine.ts'

export const testToken = 'token-for-tests-0123456789'

export interface CallOptions {
  body?: unknown
  /** sent as it is, without a content type of its own */
  raw?: string | Uint8Array | Readable
  headers?: Record<string, string>
  /** over loopback HTTP instead of the unix socket */
  http?: boolean
  signal?: AbortSignal
}

export interface Called {
  status: number
  headers: IncomingMessage['headers']
  bytes: Buffer
  json<T = Record<string, unknown>>(): T
  problem(): Problem
}

export class Harness implements AsyncDisposable {
  readonly engine: FakeEngine
  readonly server: RunningServer
  readonly folder: string
  readonly #ownsFolder: boolean

  private constructor(engine: FakeEngine, server: RunningServer, folder: string, ownsFolder: boolean) {
    this.engine = engine
    this.server = server
    this.folder = folder
    this.#ownsFolder = ownsFolder
  }

  static async start(
    options: { engine?: FakeEngine; folder?: string; idempotency?: IdempotencyStore; heartbeatMs?: number } = {},
  ): Promise<Harness> {
    const engine = options.engine ?? new FakeEngine()
    const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'ramet-server-')))
    const server = await startServer({
      engine,
      socketPath: join(folder, 'api.sock'),
      http: { host: '127.0.0.1', port: 0, token: testToken },
      log: silentLog,
      idempotency: options.idempotency ?? memoryIdempotencyStore(),
      checkAnswers: true,
      ...(options.heartbeatMs === undefined ? {} : { heartbeatMs: options.heartbeatMs }),
    })
    return new Harness(engine, server, folder, options.folder === undefined)
  }

  /** Opens a request; the caller reads the answer. */
  open(method: string, path: string, options: CallOptions = {}): Promise<IncomingMessage> {
    const content = options.body === undefined ? {} : { 'content-type': 'application/json' }
    const place = options.http
      ? { host: '127.0.0.1', port: this.server.address?.port }
      : { socketPath: this.server.socketPath }
    return new Promise((resolve, reject) => {
      const sent = request({
        ...place,
        method,
        path,
        agent: false,
        headers: { ...content, ...options.headers },
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      })
      sent.once('response', resolve).once('error', reject)
      const payload = options.body === undefined ? options.raw : JSON.stringify(options.body)
      if (payload === undefined || typeof payload === 'string' || payload instanceof Uint8Array) sent.end(payload)
      else payload.pipe(sent)
    })
  }

  async call(method: string, path: string, options: CallOptions = {}): Promise<Called> {
    const response = await this.open(method, path, options)
    const bytes = await buffer(response)
    const status = response.statusCode ?? 0
    const called: Called = {
      status,
      headers: response.headers,
      bytes,
      json: () => JSON.parse(bytes.toString('utf8')),
      problem: () => {
        assert.match(response.headers['content-type'] ?? '', /^application\/problem\+json/)
        return JSON.parse(bytes.toString('utf8'))
      },
    }
    if (status >= 400) holdToDocument(method, path, called.problem())
    return called
  }

  socket(path: string, headers: Record<string, string> = {}): WebSocket {
    return new WebSocket(`ws+unix://${this.server.socketPath}:${path}`, { headers })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server.close()
    if (this.#ownsFolder) await rm(this.folder, { recursive: true, force: true })
  }
}

const documented = allRoutes()

/** Every problem a test meets is one that the OpenAPI document announces for its route. */
function holdToDocument(method: string, path: string, problem: Problem): void {
  for (const field of ['type', 'title', 'status', 'detail', 'code', 'remediation', 'retryable'] as const)
    assert.notEqual(problem[field], undefined, `the problem has ${field}`)
  const route = documented.find((candidate) => candidate.method === method && pathPattern(candidate).test(path))
  if (route !== undefined)
    assert.ok(
      errorCodesOf(route).has(problem.code),
      `${route.operationId} documents ${problem.code}: ${problem.detail}`,
    )
}

function pathPattern(route: Route): RegExp {
  return new RegExp(`^${route.path.replaceAll(/\{\w+\}/g, '[^/?]+').replaceAll('.', '\\.')}(\\?|$)`)
}
