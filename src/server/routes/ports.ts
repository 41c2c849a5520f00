import { z } from 'zod'
import { Port, PortList, PortPublish } from '../../api/port.ts'
import { type Route, valueRoute } from '../route.ts'
import { vmParams } from './vms.ts'

const portParams = vmParams.extend({
  guestPort: z.coerce.number().int().min(1).max(65535).describe('TCP port in the guest.'),
})

export const portRoutes: Route[] = [
  valueRoute({
    operationId: 'listPorts',
    method: 'GET',
    path: '/v1/vms/{vm}/ports',
    tag: 'ports',
    summary: 'List the published ports of a vm',
    params: vmParams,
    answer: { status: 200, schema: PortList },
    errors: ['VM_NOT_FOUND'],
    handle: async ({ engine, params }) => ({ items: await engine.listPorts(params.vm) }),
  }),
  valueRoute({
    operationId: 'publishPort',
    method: 'POST',
    path: '/v1/vms/{vm}/ports',
    tag: 'ports',
    summary: 'Publish a TCP port of a guest on the host',
    params: vmParams,
    body: PortPublish,
    creates: true,
    answer: { status: 201, schema: Port },
    errors: ['VM_NOT_FOUND', 'ILLEGAL_STATE', 'IN_USE', 'PRIVILEGE', 'NO_CAPACITY'],
    handle: ({ engine, params, body }) => engine.publishPort(params.vm, body),
  }),
  valueRoute({
    operationId: 'unpublishPort',
    method: 'DELETE',
    path: '/v1/vms/{vm}/ports/{guestPort}',
    tag: 'ports',
    summary: 'Take back a published port',
    params: portParams,
    answer: { status: 204 },
    errors: ['VM_NOT_FOUND', 'NOT_FOUND'],
    handle: ({ engine, params }) => engine.unpublishPort(params.vm, params.guestPort),
  }),
]
