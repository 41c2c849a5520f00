/**
 * What a page server and its clients say to each other: JSON objects, one a line, over a unix socket. A client asks,
 * with an id; the server answers each request once, and tells every client of what happens to a restore in between.
 */
import { z } from 'zod'
import { type ErrorCode, errorTable, RametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import { cacheReportSchema } from './cache-schema.ts'
import { restoreStatsSchema } from './stats-schema.ts'

/** Rises when an older server or client could not follow. */
export const protocolVersion = 2

/** Name of the socket in a data directory. */
export const socketName = 'page-server.sock'

const absolutePath = z.string().startsWith('/').max(4096)
const restoreId = z.string().min(1).max(255)

export const policyNames = ['none', 'physical', 'virtual', 'adaptive', 'recorded', 'auto'] as const
export type PolicyName = (typeof policyNames)[number]

const restoreSchema = z.object({
  /** whoever asks chooses it; the same for every server that takes this restore over */
  restoreId,
  /** for people: in messages and in the log */
  vmName: z.string().max(255),
  checkpoint: z.union([z.object({ path: absolutePath }), z.object({ url: z.url().max(4096) })]),
  /** of the checkpoint, SHA-256 in hex: another one is refused */
  digest: z.string().regex(/^[0-9a-f]{64}$/),
  /** a base stored by `memory/store.ts`, needed when the checkpoint counts pages as the base's */
  base: z.object({ path: absolutePath, id: z.string().min(1).max(255) }).exactOptional(),
  /** at which the QEMU listens for its migration */
  qemuSocket: absolutePath,
  /** that must be the one that listens there: its directory belongs to the vm's own user */
  qemuProcess: z.object({ pid: z.int().positive(), startTime: z.number().nonnegative(), bootId: z.string().max(64) }),
  /** `auto`: `recorded` where there is a working set, else `adaptive` */
  policy: z.enum(policyNames),
  /** `paced`: everything else comes too, when nobody waits · `none`: only what is asked for, until `hurry` */
  fill: z.enum(['paced', 'none']),
  /** file with the working sets of this checkpoint (`file/working-set.ts`), read at the start and added to at the end; null: neither */
  workingSetPath: absolutePath.nullable(),
  /** added to each read of the checkpoint, for tests and measurements */
  storeDelayMs: z.number().nonnegative().max(limits.pageServerDelayMaxMs),
  /** one in so many pages that would be prefetched is withheld, to learn how many are used; 0: none; by size when left out */
  sampleEvery: z.int().nonnegative().exactOptional(),
  /** false: a QEMU that waits for its first byte · true: one that `migrate-recover` has made listen again */
  takeOver: z.boolean(),
})

/** What a restore is and how it is to be served. */
export type RestoreRequest = z.infer<typeof restoreSchema>

const sourceSchema = restoreSchema.pick({
  ...{ checkpoint: true, digest: true, policy: true, workingSetPath: true, storeDelayMs: true },
})

/** Of a restore, what is known before there is a QEMU. */
export type RestoreSource = z.infer<typeof sourceSchema>

const id = z.int().nonnegative()

const requestSchema = z.discriminatedUnion('do', [
  z.object({ id, do: z.literal('hello') }),
  /** such a restore is about to be asked for; answered when what it is expected to need first is on hand */
  z.object({ id, do: z.literal('prepare'), source: sourceSchema }),
  /** answered when QEMU was sent everything but memory, or has said what it has */
  z.object({ id, do: z.literal('serve'), restore: restoreSchema }),
  /** from now on fill at full speed, whatever `fill` said */
  z.object({ id, do: z.literal('hurry'), restoreId }),
  /** keeps the counters of this moment under a name, in `stats.marks` */
  z.object({ id, do: z.literal('mark'), restoreId, name: z.string().min(1).max(limits.nameChars) }),
  /** unfinished restores, and those that are over and were not dropped yet */
  z.object({ id, do: z.literal('list') }),
  /** the vm is gone, or what became of the restore has been noted; nothing happens when there is none */
  z.object({ id, do: z.literal('drop'), restoreId }),
  /** how the cache of decompressed blocks does */
  z.object({ id, do: z.literal('cache') }),
  /** gives so much of the cache's memory back now, ahead of somebody who shall not wait while the kernel takes it */
  z.object({ id, do: z.literal('give-back'), bytes: z.int().nonnegative() }),
])

export type ServerRequest = z.infer<typeof requestSchema>

/** One restore as `list` tells of it. */
const reportSchema = z.object({ restoreId, vmName: z.string(), stats: restoreStatsSchema })
export type RestoreReport = z.infer<typeof reportSchema>

const errorSchema = z.object({
  code: z.string().refine((code): code is ErrorCode => Object.hasOwn(errorTable, code)),
  message: z.string(),
  remediation: z.string(),
})

const messageSchema = z.union([
  z.object({
    id,
    ok: z.literal(true),
    /** answers `hello` */
    server: z.object({ protocol: z.int(), version: z.string(), pid: z.int().positive() }).exactOptional(),
    /** answers `serve`, `hurry` and `mark` */
    stats: restoreStatsSchema.exactOptional(),
    /** answers `list` */
    restores: z.array(reportSchema).exactOptional(),
    /** answers `cache` and `give-back` */
    cache: cacheReportSchema.exactOptional(),
    /** answers `give-back`: some more or less than asked for */
    gaveBackBytes: z.int().nonnegative().exactOptional(),
  }),
  z.object({ id, ok: z.literal(false), error: errorSchema }),
  z.object({
    /**
     * `progress`: about once a second · `completed`: the guest stands on its own · `lost`: QEMU or the way to it is gone,
     * take over where it is not · `failed`: a page cannot be had, whoever touched it stands still; the others are served on
     */
    notice: z.enum(['progress', 'completed', 'lost', 'failed']),
    restoreId,
    stats: restoreStatsSchema,
    error: errorSchema.exactOptional(),
  }),
])

export type ServerMessage = z.infer<typeof messageSchema>
export type Answer = Extract<ServerMessage, { id: number }>
export type Notice = Extract<ServerMessage, { notice: unknown }>
export type WireError = z.infer<typeof errorSchema>

/** @throws RametError `INVALID_ARGUMENT` for anything that is no request */
export function parseRequest(line: string): ServerRequest {
  return parse(requestSchema, line, 'request')
}

/** @throws RametError `INVALID_ARGUMENT` for anything that is no answer and no notice */
export function parseMessage(line: string): ServerMessage {
  return parse(messageSchema, line, 'answer')
}

export function encodeLine(message: ServerRequest | ServerMessage): string {
  return `${JSON.stringify(message)}\n`
}

/** The id of a line that is no request otherwise, so that whoever waits for its answer gets one. */
export function idOf(line: string): number | undefined {
  try {
    return z.object({ id }).parse(JSON.parse(line)).id
  } catch {
    return undefined
  }
}

export function toWireError({ code, message, remediation }: RametError): WireError {
  return { code, message, remediation }
}

export function fromWireError({ code, message, remediation }: WireError): RametError {
  return new RametError(code, { message, remediation })
}

function parse<T>(schema: z.ZodType<T>, line: string, what: string): T {
  const result = schema.safeParse(parseJson(line))
  if (result.success) return result.data
  const [issue] = result.error.issues
  throw new RametError('INVALID_ARGUMENT', {
    message: `not a page server's ${what}: ${issue?.path.join('.')} ${issue?.message}`,
  })
}

/** undefined for what is no JSON, which no schema takes. */
function parseJson(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}
