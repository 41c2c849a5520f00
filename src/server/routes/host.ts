import { z } from 'zod'
import { capabilities, DoctorReport, Health, HostInfo, Version } from '../../api/host.ts'
import { HostStats } from '../../api/host-stats.ts'
import { VmLayers } from '../../api/layers.ts'
import { Ref } from '../../api/primitives.ts'
import { VmStats } from '../../api/stats.ts'
import { Tree } from '../../api/tree.ts'
import { RametError } from '../../shared/errors.ts'
import { type Route, streamRoute, valueRoute } from '../route.ts'
import { vmParams } from './vms.ts'

const open = { tag: 'daemon', open: true, early: true, errors: [] } as const

export const hostRoutes: Route[] = [
  valueRoute({
    ...open,
    operationId: 'getHealth',
    method: 'GET',
    path: '/healthz',
    summary: 'Whether the daemon lives',
    answer: { status: 200, schema: Health },
    handle: async () => ({ status: 'ok' }) satisfies Health,
  }),
  valueRoute({
    ...open,
    operationId: 'getReadiness',
    method: 'GET',
    path: '/readyz',
    summary: 'Whether the daemon serves requests',
    answer: { status: 200, schema: Health },
    errors: ['DAEMON_UNREACHABLE'],
    handle: async ({ engine }) => {
      if (!engine.ready()) throw notReady()
      return { status: 'ok' } satisfies Health
    },
  }),
  valueRoute({
    ...open,
    operationId: 'getVersion',
    method: 'GET',
    path: '/version',
    summary: 'Version of Ramet and of this API',
    answer: { status: 200, schema: Version },
    handle: async ({ version }) => ({ version, api: 'v1', capabilities: [...capabilities] }) satisfies Version,
  }),
  streamRoute({
    operationId: 'getMetrics',
    method: 'GET',
    path: '/metrics',
    tag: 'daemon',
    early: true,
    summary: 'Metrics for Prometheus',
    answer: { status: 200, contentType: 'text/plain', description: 'Metrics, seconds and bytes.' },
    errors: [],
    handle: async ({ metrics }) => {
      const { contentType, text } = await metrics()
      return { contentType, payload: text }
    },
  }),
  streamRoute({
    operationId: 'getOpenApi',
    method: 'GET',
    path: '/openapi.json',
    tag: 'daemon',
    early: true,
    summary: 'This API as OpenAPI 3.1',
    answer: { status: 200, contentType: 'application/json', description: 'The document.' },
    errors: [],
    handle: async ({ openApi }) => ({ contentType: 'application/json', payload: JSON.stringify(openApi()) }),
  }),
  valueRoute({
    operationId: 'getHost',
    method: 'GET',
    path: '/v1/host',
    tag: 'host',
    summary: 'The host and what it has left',
    answer: { status: 200, schema: HostInfo },
    errors: [],
    handle: ({ engine }) => engine.hostInfo(),
  }),
  valueRoute({
    operationId: 'getHostStats',
    method: 'GET',
    path: '/v1/host/stats',
    tag: 'host',
    summary: 'Memory that vms can have, and what is held in memory that is free',
    answer: { status: 200, schema: HostStats },
    errors: [],
    handle: ({ engine }) => engine.hostStats(),
  }),
  valueRoute({
    operationId: 'getDoctorReport',
    method: 'GET',
    path: '/v1/host/doctor',
    tag: 'host',
    summary: 'What is slow or missing on this host, and the remedy',
    answer: { status: 200, schema: DoctorReport },
    errors: [],
    handle: ({ engine }) => engine.doctor(),
  }),
  valueRoute({
    operationId: 'getTree',
    method: 'GET',
    path: '/v1/tree',
    tag: 'host',
    summary: 'What came from what',
    query: z.strictObject({ of: Ref.optional().describe('Only ancestors and descendants of this, by id or name.') }),
    answer: { status: 200, schema: Tree },
    errors: ['NOT_FOUND'],
    handle: ({ engine, query }) => engine.tree(query.of),
  }),
  valueRoute({
    operationId: 'getVmStats',
    method: 'GET',
    path: '/v1/vms/{vm}/stats',
    tag: 'vms',
    summary: 'What a vm uses',
    params: vmParams,
    answer: { status: 200, schema: VmStats },
    errors: ['VM_NOT_FOUND'],
    handle: ({ engine, params }) => engine.vmStats(params.vm),
  }),
  valueRoute({
    operationId: 'getVmLayers',
    method: 'GET',
    path: '/v1/vms/{vm}/layers',
    tag: 'vms',
    summary: 'What the memory and the disks of a vm stand on',
    params: vmParams,
    answer: { status: 200, schema: VmLayers },
    errors: ['VM_NOT_FOUND'],
    handle: ({ engine, params }) => engine.vmLayers(params.vm),
  }),
]

export function notReady(): RametError {
  return new RametError('DAEMON_UNREACHABLE', {
    message: 'the daemon is still taking over what the one before it left',
    remediation: 'Call again in a moment.',
  })
}
