import { z } from 'zod'
import { Exec, ExecId, ExecList, ExecResult, ExecSignal, ExecStart } from '../../api/exec.ts'
import { ClientMessage, ServerMessage } from '../../api/exec-socket.ts'
import type { ErrorCode } from '../../shared/errors.ts'
import { RametError } from '../../shared/errors.ts'
import { captureExec } from '../exec-capture.ts'
import { ExecConnection } from '../exec-connection.ts'
import { type Route, socketRoute, valueRoute } from '../route.ts'
import { vmParams } from './vms.ts'

const execParams = vmParams.extend({ exec: ExecId })
const offset = z.coerce.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER).default(0)
const linkErrors: readonly ErrorCode[] = [
  'VM_NOT_FOUND',
  'ILLEGAL_STATE',
  'GUEST_UNREACHABLE',
  'CHECKPOINT_DAMAGED',
  'AGENT_LINK_LOST',
  'TIMEOUT',
]
const messages = { client: ClientMessage, server: ServerMessage }

export const execRoutes: Route[] = [
  valueRoute({
    operationId: 'listExecs',
    method: 'GET',
    path: '/v1/vms/{vm}/execs',
    tag: 'exec',
    summary: 'List the processes started through Ramet in a guest',
    params: vmParams,
    answer: { status: 200, schema: ExecList },
    errors: linkErrors,
    handle: async ({ engine, params }) => ({ items: await engine.listExecs(params.vm) }),
  }),
  valueRoute({
    operationId: 'getExec',
    method: 'GET',
    path: '/v1/vms/{vm}/execs/{exec}',
    tag: 'exec',
    summary: 'Look at one process',
    params: execParams,
    answer: { status: 200, schema: Exec },
    errors: [...linkErrors, 'NOT_FOUND'],
    handle: async ({ engine, params }) => {
      const found = (await engine.listExecs(params.vm)).find(({ execId }) => execId === params.exec)
      if (found !== undefined) return found
      throw new RametError('NOT_FOUND', {
        message: `there is no process “${params.exec}” in ${params.vm}`,
        remediation: 'List the processes of the vm to see which there are.',
      })
    },
  }),
  valueRoute({
    operationId: 'runExec',
    method: 'POST',
    path: '/v1/vms/{vm}/execs',
    tag: 'exec',
    summary: 'Run a command to its end, or start it detached',
    description:
      'Without `detached` the answer comes when the process has exited, with its output as far as the limit goes; ' +
      'it reads no input. With `detached` the answer comes at once, without output. To talk with a process, use the WebSocket.',
    params: vmParams,
    body: ExecStart,
    creates: true,
    answer: { status: 201, schema: ExecResult },
    errors: [...linkErrors, 'GUEST_REFUSED', 'CANCELLED'],
    handle: async ({ engine, params, body, signal }) => {
      const session = await engine.startExec(params.vm, { ...body, stdin: false })
      if (body.detached) {
        await session.release('detach')
        return { exec: session.exec, stdout: '', stderr: '', truncated: false } satisfies ExecResult
      }
      const captured = await captureExec(session, signal)
      const { execId } = session.exec
      const exec = (await engine.listExecs(params.vm)).find((other) => other.execId === execId) ?? session.exec
      return { exec, ...captured } satisfies ExecResult
    },
  }),
  valueRoute({
    operationId: 'signalExec',
    method: 'POST',
    path: '/v1/vms/{vm}/execs/{exec}/signal',
    tag: 'exec',
    summary: 'Send a signal to a process',
    params: execParams,
    body: ExecSignal,
    answer: { status: 204 },
    errors: [...linkErrors, 'NOT_FOUND'],
    handle: ({ engine, params, body }) => engine.signalExec(params.vm, params.exec, body.signal),
  }),
  valueRoute({
    operationId: 'removeExec',
    method: 'DELETE',
    path: '/v1/vms/{vm}/execs/{exec}',
    tag: 'exec',
    summary: 'Forget a process that has exited, and its output',
    params: execParams,
    answer: { status: 204 },
    errors: [...linkErrors, 'NOT_FOUND'],
    handle: ({ engine, params }) => engine.removeExec(params.vm, params.exec),
  }),
  socketRoute({
    operationId: 'openExec',
    method: 'GET',
    path: '/v1/vms/{vm}/exec',
    tag: 'exec',
    summary: 'Start a process and talk with it, over a WebSocket',
    description:
      'The first message is `start`. Text frames are JSON, binary frames data: 1 byte channel (0 stdin, 1 stdout, ' +
      '2 stderr), 8 bytes offset (big-endian, bytes since the process began), data. Acknowledge output that you have ' +
      'dealt with; keep input until it is acknowledged; when the connection breaks, attach with your offsets.',
    params: vmParams,
    messages,
    errors: [...linkErrors, 'GUEST_REFUSED', 'NO_CAPACITY'],
    connect: ({ engine, params, log }, socket) => {
      new ExecConnection({ socket, log, start: (request) => engine.startExec(params.vm, request) })
    },
  }),
  socketRoute({
    operationId: 'attachExec',
    method: 'GET',
    path: '/v1/vms/{vm}/exec/{exec}/attach',
    tag: 'exec',
    summary: 'Attach to a process that was started before, over a WebSocket',
    description: 'Output goes on from the offsets given. Otherwise as `openExec`.',
    params: execParams,
    query: z.strictObject({
      stdout: offset.describe('Bytes of stdout that you have.'),
      stderr: offset.describe('Bytes of stderr that you have.'),
    }),
    messages,
    errors: [...linkErrors, 'NOT_FOUND', 'NO_CAPACITY'],
    connect: ({ engine, params, query, log }, socket) => {
      const attach = { stdoutOffset: query.stdout, stderrOffset: query.stderr }
      new ExecConnection({
        socket,
        log,
        attach: () => engine.attachExec(params.vm, params.exec, attach),
        start: () => Promise.reject(new RametError('INVALID_ARGUMENT', { message: 'message: already attached' })),
      })
    },
  }),
]
