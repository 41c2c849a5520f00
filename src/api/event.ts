import { z } from 'zod'
import { Time } from './primitives.ts'

export const resourceKinds = ['vm', 'template', 'snapshot', 'image', 'operation', 'host'] as const
export type ResourceKind = (typeof resourceKinds)[number]

export const eventTypes = [
  'vm.created',
  'vm.updated',
  'vm.state',
  'vm.failed',
  'vm.removed',
  'vm.disks',
  'vm.restore',
  'vm.port-published',
  'vm.port-unpublished',
  'template.created',
  'template.state',
  'template.updated',
  'template.removed',
  'snapshot.created',
  'snapshot.state',
  'snapshot.updated',
  'snapshot.removed',
  'image.created',
  'image.state',
  'image.removed',
  'operation.created',
  'operation.progress',
  'operation.finished',
  'host.pressure',
] as const
export type EventType = (typeof eventTypes)[number]

/**
 * Something that happened. As a server-sent event: `id` is the `id:` line, `type` the `event:` line,
 * and the whole object the `data:` line. An `event: reset` (data `{"latestId"}`) says that events
 * after the Last-Event-ID have been forgotten: list again what you follow.
 */
export const Event = z
  .object({
    id: z.int().positive().describe('Number, rising, also over restarts of the daemon.'),
    at: Time.describe('When it happened.'),
    type: z.enum(eventTypes).describe('What happened.'),
    resource: z
      .object({
        kind: z.enum(resourceKinds).describe('Kind of the thing it happened to.'),
        id: z.string().describe('Its id.'),
        name: z.string().optional().describe('Its name.'),
      })
      .describe('What it happened to.'),
    data: z
      .record(z.string(), z.unknown())
      .describe(
        'Facts: `state`, `previous`, `reason` of a state · `disk` (number) and `state` (`lent`, `returned`, `collapsed`) of a vm.disks · `state` (`filling`, `interrupted`, `failed`, `done`) and `restore` (the report) of a vm.restore · the Operation of an operation.*',
      ),
  })
  .meta({ id: 'Event', description: 'Something that happened.' })
export type Event = z.infer<typeof Event>
