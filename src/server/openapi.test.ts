import assert from 'node:assert/strict'
import { test } from 'node:test'
import { errorTable } from '../shared/errors.ts'
import { silentLog } from '../shared/log.ts'
import { makeApp } from './app.ts'
import { Idempotency, memoryIdempotencyStore } from './idempotency.ts'
import { Metrics } from './metrics.ts'
import { errorCodesOf, openApiDocument } from './openapi.ts'
import { allRoutes } from './routes.ts'
import { FakeEngine } from './testing/fake-engine.ts'

interface Described {
  operationId: string
  summary: string
  parameters: { name: string; in: string; description?: string }[]
  responses: Record<string, { description: string; content?: Record<string, unknown> }>
}
interface Document {
  openapi: string
  paths: Record<string, Record<string, Described>>
  components: { schemas: Record<string, unknown> }
}

const routes = allRoutes()
const document = JSON.parse(JSON.stringify(openApiDocument(routes, '1.2.3'))) as Document

test('every route is served by fastify and in the document, and nothing else is in it', async () => {
  const engine = new FakeEngine()
  const served: string[] = []
  const observe = new Metrics(engine, '0')
  const app = await makeApp({
    routes,
    observe,
    serving: {
      engine,
      log: silentLog,
      version: '0',
      heartbeatMs: 1000,
      checkAnswers: true,
      idempotency: new Idempotency(memoryIdempotencyStore()),
      openApi: () => document,
      metrics: () => observe.text(),
    },
  })
  await app.ready()
  for (const route of routes) {
    const url = route.path.replaceAll(/\{(\w+)\}/g, ':$1')
    assert.ok(app.hasRoute({ method: route.method, url }), `${route.method} ${url}`)
    served.push(`${route.method.toLowerCase()} ${route.path}`)
  }
  const described = Object.entries(document.paths).flatMap(([path, item]) =>
    Object.keys(item).map((method) => `${method} ${path}`),
  )
  assert.deepEqual(described.sort(), served.sort())
  assert.equal(new Set(served).size, served.length)
  await app.close()
  observe.close()
})

test('operation ids are unique, and every path parameter is described', () => {
  const ids = routes.map(({ operationId }) => operationId)
  assert.equal(new Set(ids).size, ids.length)
  for (const [path, item] of Object.entries(document.paths))
    for (const { parameters, operationId } of Object.values(item)) {
      const names = parameters.filter((parameter) => parameter.in === 'path').map(({ name }) => name)
      assert.deepEqual(
        names,
        [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name),
        operationId,
      )
    }
})

test('every error of every route is documented under its status', () => {
  for (const route of routes) {
    const responses = document.paths[route.path]?.[route.method.toLowerCase()]?.responses ?? {}
    for (const code of errorCodesOf(route)) {
      const response = responses[errorTable[code].httpStatus]
      assert.match(response?.description ?? '', new RegExp(`\`${code}\``), `${route.operationId} ${code}`)
      assert.ok(response?.content?.['application/problem+json'])
    }
    assert.ok(
      Object.keys(responses).some((status) => Number(status) < 300),
      route.operationId,
    )
  }
})

test('no reference is left open, and nothing of the generator shows', () => {
  const text = JSON.stringify(document)
  for (const [, name] of text.matchAll(/"\$ref":"([^"]+)"/g)) {
    const id = name?.replace('#/components/schemas/', '') ?? ''
    assert.ok(document.components.schemas[id], `${name} is there`)
  }
  assert.doesNotMatch(text, /"\$schema"|"\$id"|\$defs/)
  assert.equal(document.openapi, '3.1.0')
})

test('every field of every schema and every parameter has a description', () => {
  const missing: string[] = []
  const visit = (schema: unknown, where: string) => {
    if (typeof schema !== 'object' || schema === null) return
    const node = schema as Record<string, unknown>
    for (const [name, field] of Object.entries((node.properties ?? {}) as Record<string, Record<string, unknown>>)) {
      if (field.description === undefined && field.$ref === undefined) missing.push(`${where}.${name}`)
      visit(field, `${where}.${name}`)
    }
    for (const part of ['items', 'additionalProperties']) visit(node[part], `${where}.${part}`)
    for (const part of ['oneOf', 'anyOf', 'allOf']) for (const one of (node[part] ?? []) as unknown[]) visit(one, where)
  }
  for (const [name, schema] of Object.entries(document.components.schemas)) visit(schema, name)
  for (const item of Object.values(document.paths))
    for (const { operationId, parameters } of Object.values(item))
      for (const { name, description } of parameters) if (!description) missing.push(`${operationId}?${name}`)
  assert.deepEqual(missing, [])
})
