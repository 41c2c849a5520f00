import { z } from 'zod'
import { pageQuery, queryFlag, queryList, Ref } from '../../api/primitives.ts'
import { Vm, VmPage, vmStates } from '../../api/vm.ts'
import { VmCreate, VmUpdate } from '../../api/vm-create.ts'
import { actionRoute, type Route, valueRoute } from '../route.ts'

export const vmParams = z.object({ vm: Ref.describe('Id or name of the vm.') })
export const vmLocation = (value: unknown) => `/v1/vms/${(value as Vm).id}`

export const vmRoutes: Route[] = [
  valueRoute({
    operationId: 'listVms',
    method: 'GET',
    path: '/v1/vms',
    tag: 'vms',
    summary: 'List vms, oldest first',
    query: z.strictObject({
      ...pageQuery,
      state: queryList(z.enum(vmStates)).describe('Only those in one of these states.'),
      label: queryList(z.string().max(400)).describe('Only those with this label: `key`, or `key=value`.'),
      parent: Ref.optional().describe('Only children of this template or vm, by id or name.'),
    }),
    answer: { status: 200, schema: VmPage },
    errors: [],
    handle: ({ engine, query }) => engine.listVms(query),
  }),
  actionRoute({
    operationId: 'createVm',
    method: 'POST',
    path: '/v1/vms',
    tag: 'vms',
    summary: 'Create a vm from an image, and start it',
    body: VmCreate,
    wait: true,
    creates: true,
    answer: { status: 201, schema: Vm, location: vmLocation },
    errors: [
      'INVALID_NAME',
      'NAME_TAKEN',
      'IMAGE_NOT_FOUND',
      'NO_CAPACITY',
      'NO_SPACE',
      'HOST_UNFIT',
      'PRIVILEGE',
      'BASE_DAMAGED',
      'GUEST_PANIC',
      'GUEST_UNREACHABLE',
      'AGENT_PROTOCOL',
      'VMM_FAILED',
      'QMP_FAILED',
      'TIMEOUT',
      'CANCELLED',
    ],
    handle: ({ engine, body, operationId }) => engine.createVm(body, { operationId }),
  }),
  valueRoute({
    operationId: 'getVm',
    method: 'GET',
    path: '/v1/vms/{vm}',
    tag: 'vms',
    summary: 'Look at one vm',
    params: vmParams,
    answer: { status: 200, schema: Vm },
    errors: ['VM_NOT_FOUND'],
    handle: ({ engine, params }) => engine.getVm(params.vm),
  }),
  valueRoute({
    operationId: 'updateVm',
    method: 'PATCH',
    path: '/v1/vms/{vm}',
    tag: 'vms',
    summary: 'Change what can be changed on a vm',
    params: vmParams,
    body: VmUpdate,
    answer: { status: 200, schema: Vm },
    errors: ['VM_NOT_FOUND', 'INVALID_NAME', 'NAME_TAKEN', 'ILLEGAL_STATE', 'GUEST_UNREACHABLE'],
    handle: ({ engine, params, body }) => engine.updateVm(params.vm, body),
  }),
  actionRoute({
    operationId: 'removeVm',
    method: 'DELETE',
    path: '/v1/vms/{vm}',
    tag: 'vms',
    summary: 'Remove a vm and its disks',
    params: vmParams,
    query: z.strictObject({ force: queryFlag.default(false).describe('Kill it first if it runs.') }),
    wait: true,
    answer: { status: 204 },
    errors: ['VM_NOT_FOUND', 'ILLEGAL_STATE', 'IN_USE', 'CANCELLED'],
    handle: ({ engine, params, query, operationId }) =>
      engine.removeVm(params.vm, { force: query.force }, { operationId }),
  }),
]
