/** The OpenAPI 3.1 document, made from the routes and from the schemas that check the requests. */
import { z } from 'zod'
import { Operation } from '../api/operation.ts'
import { Problem, problemMediaType } from '../api/problem.ts'
import { assert } from '../shared/assert.ts'
import { type ErrorCode, errorTable } from '../shared/errors.ts'
import { bytesBody, type Route } from './route.ts'

type Json = Record<string, unknown>

/** Codes that any call may answer, beside those that its route names. */
const commonErrors: readonly ErrorCode[] = ['INVALID_ARGUMENT', 'FORBIDDEN', 'INTERNAL']

export function openApiDocument(routes: readonly Route[], version: string): Json {
  const paths: Record<string, Json> = {}
  for (const route of routes) {
    const path = paths[route.path] ?? {}
    path[route.method.toLowerCase()] = describeRoute(route)
    paths[route.path] = path
  }
  const used = new Set(JSON.stringify(paths).match(/(?<="#\/components\/schemas\/)[A-Za-z]+(?=")/g))
  return {
    openapi: '3.1.0',
    info: {
      title: 'Ramet',
      version,
      summary: 'Fork running Linux virtual machines.',
      description:
        'Times are RFC 3339, sizes bytes, durations milliseconds unless a name says otherwise. Wherever a path ' +
        'names a thing, its id and its name do. Errors are problem documents (RFC 9457) with a stable `code`.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: 'http://localhost:7263', description: 'Loopback; the same API is on the unix socket.' }],
    security: [{ token: [] }],
    tags: [...new Set(routes.map((route) => route.tag))].map((name) => ({ name })),
    paths,
    components: {
      securitySchemes: {
        token: { type: 'http', scheme: 'bearer', description: 'Over HTTP only; the unix socket needs none.' },
      },
      schemas: componentsFor(used),
    },
  }
}

function describeRoute(route: Route): Json {
  return {
    operationId: route.operationId,
    tags: [route.tag],
    summary: route.summary,
    ...(route.description === undefined ? {} : { description: route.description }),
    ...(route.open ? { security: [] } : {}),
    parameters: [...pathParameters(route), ...queryParameters(route), ...headerParameters(route)],
    ...(route.body === undefined ? {} : { requestBody: requestBody(route.body, route.bodyOptional !== true) }),
    responses: { ...successes(route), ...failures(route) },
    ...(route.kind === 'socket'
      ? { 'x-websocket': { clientMessage: refTo(route.messages.client), serverMessage: refTo(route.messages.server) } }
      : {}),
  }
}

function pathParameters(route: Route): Json[] {
  return Object.entries(route.params?.shape ?? {}).map(([name, schema]) => ({
    name,
    in: 'path',
    required: true,
    ...describedSchema(schema),
  }))
}

function queryParameters(route: Route): Json[] {
  return Object.entries(route.query?.shape ?? {}).map(([name, schema]) => {
    const { success: optional } = z.safeParse(schema, undefined)
    return { name, in: 'query', required: !optional, ...describedSchema(schema) }
  })
}

function headerParameters(route: Route): Json[] {
  const header = (name: string, description: string): Json => ({
    name,
    in: 'header',
    required: false,
    description,
    schema: { type: 'string' },
  })
  return [
    ...(route.creates
      ? [header('Idempotency-Key', 'The same key with the same request takes place once, and has one answer.')]
      : []),
    ...(route.operationId === 'followEvents' ? [header('Last-Event-ID', 'Id of the last event seen.')] : []),
  ]
}

/** A parameter wants its description beside its schema, not inside. */
function describedSchema(schema: z.core.$ZodType): Json {
  const { description, $schema: _, ...rest } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as Json
  return { ...(description === undefined ? {} : { description }), schema: rest }
}

function requestBody(schema: z.ZodType, required: boolean): Json {
  if (schema === bytesBody) return { required, content: { 'application/octet-stream': {} } }
  return { required, content: { 'application/json': { schema: refTo(schema) } } }
}

function successes(route: Route): Json {
  const { answer } = route.kind === 'socket' ? { answer: undefined } : route
  if (answer === undefined) return { 101: { description: 'The connection becomes a WebSocket.' } }
  return {
    ...(route.kind === 'action'
      ? { 202: { description: 'Accepted; follow the operation.', content: jsonOf(Operation) } }
      : {}),
    [answer.status]: success(route.summary, answer),
  }
}

function success(summary: string, answer: Exclude<Route, { kind: 'socket' }>['answer']): Json {
  if (answer.status === 204) return { description: 'Done.' }
  if ('contentType' in answer)
    return {
      description: answer.description,
      content: { [answer.contentType]: answer.schema === undefined ? {} : { schema: refTo(answer.schema) } },
    }
  return { description: `${summary}: done.`, content: jsonOf(answer.schema) }
}

/** Every code a route may answer, `status` by `status`. */
export function errorCodesOf(route: Route): ReadonlySet<ErrorCode> {
  return new Set([
    ...commonErrors,
    ...(route.open ? [] : (['UNAUTHORIZED'] as const)),
    ...(route.early ? [] : (['DAEMON_UNREACHABLE'] as const)),
    ...(route.body === undefined ? [] : (['TOO_LARGE'] as const)),
    ...(route.creates ? (['IDEMPOTENCY_MISMATCH'] as const) : []),
    ...route.errors,
  ])
}

function failures(route: Route): Json {
  const byStatus = new Map<number, ErrorCode[]>()
  for (const code of errorCodesOf(route)) {
    const { httpStatus } = errorTable[code]
    byStatus.set(httpStatus, [...(byStatus.get(httpStatus) ?? []), code])
  }
  const content = { [problemMediaType]: { schema: refTo(Problem) } }
  const responses: Json = { default: { description: 'Any other problem.', content } }
  for (const [status, codes] of byStatus)
    responses[status] = { description: codes.map((code) => `\`${code}\``).join(', '), content }
  return responses
}

function jsonOf(schema: z.ZodType): Json {
  return { 'application/json': { schema: refTo(schema) } }
}

function refTo(schema: z.ZodType): Json {
  const id = z.globalRegistry.get(schema)?.id
  assert(id !== undefined, 'a body or an answer in OpenAPI has a registered schema')
  return { $ref: `#/components/schemas/${id}` }
}

/** The named schemas, and those they mention. */
function componentsFor(roots: ReadonlySet<string>): Json {
  const uri = (id: string) => `#/components/schemas/${id}`
  const { schemas } = z.toJSONSchema(z.globalRegistry, { io: 'input', unrepresentable: 'any', uri })
  const wanted = new Map<string, Json>()
  const visit = (id: string) => {
    const schema = schemas[id]
    if (wanted.has(id) || schema === undefined) return
    const { $schema: _schema, $id: _id, id: _metaId, ...rest } = schema as Json
    wanted.set(id, rest)
    for (const match of JSON.stringify(rest).matchAll(/"#\/components\/schemas\/([A-Za-z]+)"/g))
      if (match[1] !== undefined) visit(match[1])
  }
  for (const id of roots) visit(id)
  return Object.fromEntries([...wanted].sort(([a], [b]) => (a < b ? -1 : 1)))
}
