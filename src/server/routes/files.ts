import { Readable } from 'node:stream'
import { z } from 'zod'
import { FileEntry, FileEvent, FileList, FileMakeDirectory, FileRename } from '../../api/file.ts'
import { GuestPath, GuestText, queryFlag } from '../../api/primitives.ts'
import type { ErrorCode } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import { limitedBody } from '../bytes.ts'
import { bytesBody, type Route, streamRoute, valueRoute } from '../route.ts'
import { EventStream, eventStreamHeaders } from '../sse.ts'
import { vmParams } from './vms.ts'

const errors: readonly ErrorCode[] = [
  'VM_NOT_FOUND',
  'NOT_FOUND',
  'ILLEGAL_STATE',
  'GUEST_REFUSED',
  'GUEST_UNREACHABLE',
  'CHECKPOINT_DAMAGED',
  'AGENT_LINK_LOST',
  'TIMEOUT',
]
const common = { tag: 'files', params: vmParams, errors } as const
const pathQuery = z.strictObject({ path: GuestPath })
const number = z.coerce.number().int().nonnegative()

export const fileRoutes: Route[] = [
  streamRoute({
    ...common,
    operationId: 'readFile',
    method: 'GET',
    path: '/v1/vms/{vm}/files',
    summary: 'Read a file of a guest',
    query: pathQuery.extend({
      offset: number.default(0).describe('First byte wanted.'),
      length: number.optional().describe('Bytes wanted; to the end when left out.'),
    }),
    answer: { status: 200, contentType: 'application/octet-stream', description: 'The bytes.' },
    handle: async ({ engine, params, query, signal }) => {
      const range = { offset: query.offset, lengthBytes: query.length }
      const { body, lengthBytes, entry } = await engine.readFile(params.vm, query.path, range, signal)
      return {
        contentType: 'application/octet-stream',
        headers: {
          'content-length': String(lengthBytes),
          'x-content-type-options': 'nosniff',
          'last-modified': new Date(entry.modifiedAt).toUTCString(),
        },
        payload: Readable.from(body, { objectMode: false }),
      }
    },
  }),
  valueRoute({
    ...common,
    operationId: 'writeFile',
    method: 'PUT',
    path: '/v1/vms/{vm}/files',
    summary: 'Write a file of a guest; it appears whole or not at all',
    query: pathQuery.extend({
      mode: z
        .string()
        .regex(/^[0-7]{1,4}$/, 'not an octal number')
        .transform((text) => Number.parseInt(text, 8))
        .optional()
        .describe('Permission bits, octal; those of the file that is there, else 644.'),
      user: GuestText.max(64).optional().describe('Owner, name or number; root when left out.'),
      parents: queryFlag.default(true).describe('Make missing parent directories.'),
      offset: number.optional().describe('Write from this byte on, instead of replacing the file.'),
    }),
    body: bytesBody,
    bodyLimitBytes: limits.fileBodyBytes,
    answer: { status: 200, schema: FileEntry },
    errors: [...errors, 'CANCELLED'],
    handle: ({ engine, params, query: { path, ...options }, body, header }) =>
      engine.writeFile(params.vm, path, limitedBody(body, header('content-length'), limits.fileBodyBytes), options),
  }),
  valueRoute({
    ...common,
    operationId: 'removeFile',
    method: 'DELETE',
    path: '/v1/vms/{vm}/files',
    summary: 'Remove a file or directory of a guest',
    query: pathQuery.extend({ recursive: queryFlag.default(false).describe('With all that is in it.') }),
    answer: { status: 204 },
    errors: [...errors, 'IN_USE'],
    handle: ({ engine, params, query }) => engine.removeFile(params.vm, query.path, { recursive: query.recursive }),
  }),
  valueRoute({
    ...common,
    operationId: 'statFile',
    method: 'GET',
    path: '/v1/vms/{vm}/files/stat',
    summary: 'Look at a file of a guest',
    query: pathQuery,
    answer: { status: 200, schema: FileEntry },
    handle: ({ engine, params, query }) => engine.statFile(params.vm, query.path),
  }),
  valueRoute({
    ...common,
    operationId: 'listFiles',
    method: 'GET',
    path: '/v1/vms/{vm}/files/list',
    summary: 'List a directory of a guest',
    query: pathQuery,
    answer: { status: 200, schema: FileList },
    handle: async ({ engine, params, query }) => ({ items: await engine.listFiles(params.vm, query.path) }),
  }),
  valueRoute({
    ...common,
    operationId: 'makeDirectory',
    method: 'POST',
    path: '/v1/vms/{vm}/files/mkdir',
    summary: 'Make a directory in a guest',
    body: FileMakeDirectory,
    answer: { status: 201, schema: FileEntry },
    handle: ({ engine, params, body }) => engine.makeDirectory(params.vm, body),
  }),
  valueRoute({
    ...common,
    operationId: 'renameFile',
    method: 'POST',
    path: '/v1/vms/{vm}/files/rename',
    summary: 'Rename a file of a guest, replacing what has the new name',
    body: FileRename,
    answer: { status: 200, schema: FileEntry },
    handle: ({ engine, params, body }) => engine.renameFile(params.vm, body),
  }),
  streamRoute({
    ...common,
    operationId: 'watchFiles',
    method: 'GET',
    path: '/v1/vms/{vm}/files/watch',
    summary: 'Follow what happens to a file or directory of a guest, as server-sent events',
    query: pathQuery.extend({ recursive: queryFlag.default(false).describe('Also what is below it.') }),
    answer: { status: 200, contentType: 'text/event-stream', description: 'Events.', schema: FileEvent },
    handle: async ({ engine, params, query, log, heartbeatMs }) => {
      const end = new AbortController()
      const events = await engine.watchFiles(params.vm, query.path, { recursive: query.recursive }, end.signal)
      const stream = new EventStream(heartbeatMs, () => end.abort())
      forward(events, stream).catch((error: unknown) => {
        log.debug({ err: error }, 'a watch of files ended')
        stream.destroy()
      })
      return { contentType: 'text/event-stream', headers: eventStreamHeaders, payload: stream }
    },
  }),
]

async function forward(events: AsyncIterable<FileEvent>, stream: EventStream): Promise<void> {
  for await (const event of events) stream.event(event.type, event)
  stream.end()
}
