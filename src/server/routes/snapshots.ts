import { z } from 'zod'
import { pageQuery, queryList, Ref } from '../../api/primitives.ts'
import {
  Snapshot,
  SnapshotCreate,
  SnapshotImport,
  SnapshotPage,
  SnapshotUpdate,
  snapshotStates,
} from '../../api/snapshot.ts'
import { limits } from '../../shared/limits.ts'
import { limitedBody } from '../bytes.ts'
import { actionRoute, bytesBody, type Route, streamRoute, valueRoute } from '../route.ts'
import { vmParams } from './vms.ts'

const snapshotParams = z.object({ snapshot: Ref.describe('Id or name of the snapshot.') })
const location = (value: unknown) => `/v1/snapshots/${(value as Snapshot).id}`

export const snapshotRoutes: Route[] = [
  actionRoute({
    operationId: 'createSnapshot',
    method: 'POST',
    path: '/v1/vms/{vm}/snapshots',
    tag: 'snapshots',
    summary: 'Save memory, devices and disks of a vm, which runs on',
    description:
      'The vm is stopped for a moment, as for a fork, and runs on while its memory is saved; one that was paused stays so.',
    params: vmParams,
    body: SnapshotCreate,
    bodyOptional: true,
    wait: false,
    creates: true,
    answer: { status: 201, schema: Snapshot, location },
    errors: [
      'INVALID_NAME',
      'NAME_TAKEN',
      'VM_NOT_FOUND',
      'ILLEGAL_STATE',
      'PAUSE_TOO_LONG',
      'NO_CAPACITY',
      'NO_SPACE',
      'BASE_DAMAGED',
      'IMAGE_INVALID',
      'GUEST_REFUSED',
      'GUEST_UNREACHABLE',
      'AGENT_LINK_LOST',
      'VMM_FAILED',
      'QMP_FAILED',
      'TIMEOUT',
      'CANCELLED',
    ],
    handle: ({ engine, params, body, operationId }) => engine.createSnapshot(params.vm, body, { operationId }),
  }),
  valueRoute({
    operationId: 'listSnapshots',
    method: 'GET',
    path: '/v1/snapshots',
    tag: 'snapshots',
    summary: 'List snapshots, oldest first',
    query: z.strictObject({
      ...pageQuery,
      state: queryList(z.enum(snapshotStates)).describe('Only those in one of these states.'),
      label: queryList(z.string().max(320)).describe(
        'Only those with this label: `key` or `key=value`; all must match.',
      ),
      vm: Ref.optional().describe('Only those of this vm, by id or name; it may be gone.'),
    }),
    answer: { status: 200, schema: SnapshotPage },
    errors: [],
    handle: ({ engine, query }) => engine.listSnapshots(query),
  }),
  valueRoute({
    operationId: 'getSnapshot',
    method: 'GET',
    path: '/v1/snapshots/{snapshot}',
    tag: 'snapshots',
    summary: 'Look at one snapshot',
    params: snapshotParams,
    answer: { status: 200, schema: Snapshot },
    errors: ['SNAPSHOT_NOT_FOUND'],
    handle: ({ engine, params }) => engine.getSnapshot(params.snapshot),
  }),
  valueRoute({
    operationId: 'updateSnapshot',
    method: 'PATCH',
    path: '/v1/snapshots/{snapshot}',
    tag: 'snapshots',
    summary: 'Change the name, the labels or the time to live',
    params: snapshotParams,
    body: SnapshotUpdate,
    answer: { status: 200, schema: Snapshot },
    errors: ['SNAPSHOT_NOT_FOUND', 'INVALID_NAME', 'NAME_TAKEN'],
    handle: ({ engine, params, body }) => engine.updateSnapshot(params.snapshot, body),
  }),
  actionRoute({
    operationId: 'removeSnapshot',
    method: 'DELETE',
    path: '/v1/snapshots/{snapshot}',
    tag: 'snapshots',
    summary: 'Remove a snapshot whose memory nobody waits for',
    params: snapshotParams,
    wait: true,
    answer: { status: 204 },
    errors: ['SNAPSHOT_NOT_FOUND', 'IN_USE', 'ILLEGAL_STATE', 'CANCELLED'],
    handle: ({ engine, params, operationId }) => engine.removeSnapshot(params.snapshot, { operationId }),
  }),
  streamRoute({
    operationId: 'exportSnapshot',
    method: 'GET',
    path: '/v1/snapshots/{snapshot}/export',
    tag: 'snapshots',
    summary: 'Read all of a snapshot as one tar, to be imported elsewhere',
    description: 'What it stands on, an image and maybe the memory of a template, is named in it and not part of it.',
    params: snapshotParams,
    answer: { status: 200, contentType: 'application/x-tar', description: 'The archive.' },
    errors: ['SNAPSHOT_NOT_FOUND', 'ILLEGAL_STATE', 'BASE_DAMAGED'],
    handle: async ({ engine, params }) => {
      const { body, sizeBytes } = await engine.exportSnapshot(params.snapshot)
      const headers = { 'content-length': String(sizeBytes), 'x-content-type-options': 'nosniff' }
      return { contentType: 'application/x-tar', headers, payload: body }
    },
  }),
  actionRoute({
    operationId: 'importSnapshot',
    method: 'POST',
    path: '/v1/snapshots/import',
    tag: 'snapshots',
    summary: 'Import a snapshot that was exported',
    description:
      'The archive is the body. The operation begins once the whole body has been received; all of it is checked.',
    query: SnapshotImport,
    body: bytesBody,
    bodyLimitBytes: limits.snapshotBodyBytes,
    wait: false,
    creates: true,
    answer: { status: 201, schema: Snapshot, location },
    errors: [
      'INVALID_NAME',
      'NAME_TAKEN',
      'IMAGE_NOT_FOUND',
      'CHECKPOINT_UNFIT',
      'CHECKPOINT_DAMAGED',
      'IMAGE_INVALID',
      'BASE_DAMAGED',
      'NO_SPACE',
      'CANCELLED',
    ],
    handle: ({ engine, query, body, header, operationId }) =>
      engine.importSnapshot(query, limitedBody(body, header('content-length'), limits.snapshotBodyBytes), {
        operationId,
      }),
  }),
]
