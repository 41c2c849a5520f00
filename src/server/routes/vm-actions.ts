import { ForkRequest, ForkResult } from '../../api/fork.ts'
import { Vm } from '../../api/vm.ts'
import { VmClone, VmPause, VmStop } from '../../api/vm-create.ts'
import type { Action, CallContext, Engine } from '../../engine/contract.ts'
import type { ErrorCode } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import { actionRoute, type Route } from '../route.ts'
import { vmLocation, vmParams } from './vms.ts'

/** What can go wrong in a fork, whatever its source. */
export const forkErrors = [
  'INVALID_NAME',
  'NAME_TAKEN',
  'ILLEGAL_STATE',
  'FROZEN_BY_TEMPLATE',
  'NO_CAPACITY',
  'NO_SPACE',
  'HOST_UNFIT',
  'BASE_DAMAGED',
  'FORK_INCOMPLETE',
  'IDENTITY_UNPROVED',
  'GUEST_UNREACHABLE',
  'AGENT_LINK_LOST',
  'VMM_FAILED',
  'QMP_FAILED',
  'TIMEOUT',
  'CANCELLED',
] as const satisfies readonly ErrorCode[]

interface Verb {
  name: string
  summary: string
  errors: readonly ErrorCode[]
  act(engine: Engine, vm: string, context: CallContext): Promise<Action<Vm>>
}

const verbs: Verb[] = [
  {
    name: 'start',
    summary: 'Boot a vm that is not running',
    errors: [
      'NO_CAPACITY',
      'NO_SPACE',
      'HOST_UNFIT',
      'BASE_DAMAGED',
      'GUEST_PANIC',
      'GUEST_UNREACHABLE',
      'AGENT_PROTOCOL',
    ],
    act: (engine, vm, context) => engine.startVm(vm, context),
  },
  {
    name: 'resume',
    summary: 'Let a vm go on that was paused, in memory or to disk',
    errors: [
      'GUEST_UNREACHABLE',
      'IDENTITY_UNPROVED',
      'NO_CAPACITY',
      'HOST_UNFIT',
      'CHECKPOINT_DAMAGED',
      'CHECKPOINT_UNFIT',
      'BASE_DAMAGED',
      'DAEMON_UNREACHABLE',
    ],
    act: (engine, vm, context) => engine.resumeVm(vm, context),
  },
  {
    name: 'kill',
    summary: 'End a vm at once, as if the power failed',
    errors: [],
    act: (engine, vm, context) => engine.killVm(vm, context),
  },
]

export const vmActionRoutes: Route[] = [
  ...verbs.map((verb) =>
    actionRoute({
      operationId: `${verb.name}Vm`,
      method: 'POST',
      path: `/v1/vms/{vm}/${verb.name}`,
      tag: 'vms',
      summary: verb.summary,
      params: vmParams,
      wait: true,
      answer: { status: 200, schema: Vm },
      errors: ['VM_NOT_FOUND', 'ILLEGAL_STATE', 'VMM_FAILED', 'QMP_FAILED', 'TIMEOUT', 'CANCELLED', ...verb.errors],
      handle: ({ engine, params, operationId }) => verb.act(engine, params.vm, { operationId }),
    }),
  ),
  actionRoute({
    operationId: 'pauseVm',
    method: 'POST',
    path: '/v1/vms/{vm}/pause',
    tag: 'vms',
    summary: 'Stop the processors of a vm; its memory stays, or goes to disk',
    params: vmParams,
    body: VmPause,
    bodyOptional: true,
    wait: true,
    answer: { status: 200, schema: Vm },
    errors: [
      'VM_NOT_FOUND',
      'ILLEGAL_STATE',
      'NO_SPACE',
      'NO_CAPACITY',
      'GUEST_UNREACHABLE',
      'GUEST_REFUSED',
      'VMM_FAILED',
      'QMP_FAILED',
      'TIMEOUT',
      'CANCELLED',
    ],
    handle: ({ engine, params, body, operationId }) => engine.pauseVm(params.vm, body, { operationId }),
  }),
  actionRoute({
    operationId: 'stopVm',
    method: 'POST',
    path: '/v1/vms/{vm}/stop',
    tag: 'vms',
    summary: 'Ask the guest to shut down',
    params: vmParams,
    body: VmStop,
    bodyOptional: true,
    wait: true,
    answer: { status: 200, schema: Vm },
    errors: ['VM_NOT_FOUND', 'ILLEGAL_STATE', 'GUEST_UNREACHABLE', 'VMM_FAILED', 'QMP_FAILED', 'TIMEOUT', 'CANCELLED'],
    handle: ({ engine, params, body, operationId }) => engine.stopVm(params.vm, body, { operationId }),
  }),
  actionRoute({
    operationId: 'forkVm',
    method: 'POST',
    path: '/v1/vms/{vm}/fork',
    tag: 'vms',
    summary: 'Fork a vm: memory, devices and disks, copy-on-write',
    params: vmParams,
    body: ForkRequest,
    bodyOptional: true,
    bodyLimitBytes: limits.forkBodyBytes,
    wait: true,
    creates: true,
    answer: { status: 201, schema: ForkResult },
    errors: ['VM_NOT_FOUND', ...forkErrors],
    handle: ({ engine, params, body, operationId }) => engine.forkVm(params.vm, body, { operationId }),
  }),
  actionRoute({
    operationId: 'cloneVm',
    method: 'POST',
    path: '/v1/vms/{vm}/clone',
    tag: 'vms',
    summary: 'Copy the disks of a vm into a new one, which boots',
    params: vmParams,
    body: VmClone,
    bodyOptional: true,
    wait: true,
    creates: true,
    answer: { status: 201, schema: Vm, location: vmLocation },
    errors: [
      'VM_NOT_FOUND',
      'INVALID_NAME',
      'NAME_TAKEN',
      'ILLEGAL_STATE',
      'NO_CAPACITY',
      'NO_SPACE',
      'VMM_FAILED',
      'CANCELLED',
    ],
    handle: ({ engine, params, body, operationId }) => engine.cloneVm(params.vm, body, { operationId }),
  }),
]
