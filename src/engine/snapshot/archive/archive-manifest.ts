/** What an exported snapshot tells of itself, first of all. Nothing in it names a path of the host that it is from. */
import { z } from 'zod'
import { Environment, Labels, Name } from '../../../api/primitives.ts'
import { IdlePolicy, networks, RestartPolicy, VmLimits } from '../../../api/vm.ts'
import { firstSeat, lastSeat } from '../../../fork/seat.ts'
import { RametError } from '../../../shared/errors.ts'
import { limits } from '../../../shared/limits.ts'
import { badArchive } from './archive-reader.ts'

export const manifestFile = 'snapshot.json'
/** Comes last: with it the archive is whole. */
export const digestsFile = 'digests.json'

const format = 'ramet-snapshot'
/** Rises when an older Ramet could not read it. */
export const archiveVersion = 1

const idOf = (kind: string) => z.string().regex(new RegExp(`^${kind}-[0-9a-z]{1,40}$`), `not the id of a ${kind}`)
const text = z.string().max(255)
const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'not a SHA-256')
const count = z.int().nonnegative()
const ancestorKind = z.enum(['image', 'template', 'vm', 'snapshot'])
const anyId = z.string().regex(/^[a-z]+-[0-9a-z]{1,40}$/, 'not an id')

/** The lowest bit of its first byte is that of groups: no interface may have such an address. */
const unicastMac = z.string().regex(/^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/, 'not the MAC of one interface')

const diskSchema = z.strictObject({
  sizeBytes: z.int().positive().max(limits.diskMaxBytes),
  /** immutable file that it stands on, which is not in the archive */
  base: z
    .strictObject({
      owner: z.enum(['image', 'template']),
      ownerId: anyId,
      file: z.string().regex(/^[a-z0-9][a-z0-9_-]*(\.[a-z0-9_-]+)*$/i, 'not a plain name'),
      sha256,
    })
    .exactOptional(),
  /** of the file in the archive */
  fileBytes: count,
})

/** The vm as it was; its machine is what the checkpoint says, and its disks are told of apart. */
const vmSchema = z.strictObject({
  id: idOf('vm'),
  name: Name,
  state: z.enum(['running', 'paused']),
  source: z.strictObject({ kind: ancestorKind, id: anyId, name: text }),
  ancestors: z
    .array(z.strictObject({ kind: ancestorKind.exclude(['image']), id: anyId, name: text }))
    .max(limits.ancestorCount)
    .exactOptional(),
  parentId: anyId.exactOptional(),
  forkIndex: count.exactOptional(),
  imageId: idOf('img'),
  imageName: text,
  generation: count,
  depth: count,
  identity: z.literal('none').exactOptional(),
  frozenAtFork: z.literal(false).exactOptional(),
  hostname: Name,
  seat: z.int().min(firstSeat).max(lastSeat),
  generationId: z.uuid(),
  init: z.enum(['agent', 'system']),
  nics: z.array(z.strictObject({ network: z.enum(networks), mac: unicastMac })).max(limits.nicMaxCount),
  link: z.enum(['up', 'down']),
  labels: Labels,
  environment: Environment,
  ports: z
    .array(
      z.strictObject({
        guestPort: z.int().min(1).max(65535),
        hostPort: z.int().min(1).max(65535),
        hostAddress: z.union([z.ipv4(), z.ipv6()]),
      }),
    )
    .max(limits.portMaxCount),
  limits: VmLimits,
  restart: RestartPolicy,
  idle: IdlePolicy.exactOptional(),
  ttlMs: z.number().positive().max(limits.ttlMaxMs).exactOptional(),
  agentProtocol: count.exactOptional(),
  createdAtMs: z.number().nonnegative(),
  startedAtMs: z.number().nonnegative().exactOptional(),
})

const manifestSchema = z.strictObject({
  format: z.literal(format),
  version: z.literal(archiveVersion),
  rametVersion: text,
  name: Name,
  createdAtMs: z.number().nonnegative(),
  labels: Labels,
  frozen: z.boolean(),
  hasForkHooks: z.boolean(),
  qemuVersion: text,
  vm: vmSchema,
  disks: z.array(diskSchema).max(limits.diskMaxCount),
  checkpoint: z.strictObject({
    /** SHA-256 that stands for the whole file */
    digest: sha256,
    fileBytes: z.int().positive(),
    /** stored base of a template that some of its pages are read from, which is not in the archive */
    base: z.strictObject({ templateId: idOf('tpl'), templateName: text, id: anyId, digest: sha256 }).exactOptional(),
  }),
  /** what earlier restores used first; 0: there is none */
  workingSetBytes: count,
})

export type ArchiveManifest = z.infer<typeof manifestSchema>
export type ArchivedVm = z.infer<typeof vmSchema>
export type ArchivedDisk = z.infer<typeof diskSchema>

/** SHA-256 of each file in the archive, in hex, by name. */
export type ArchiveDigests = Record<string, string>

export function encodeManifest(manifest: Omit<ArchiveManifest, 'format' | 'version'>): Buffer {
  const bytes = Buffer.from(`${JSON.stringify({ format, version: archiveVersion, ...manifest }, undefined, 2)}\n`)
  // What this would refuse to read is not written in the first place.
  parseArchiveManifest(bytes)
  return bytes
}

/** What of a vm travels: all that the manifest has a place for. */
export function archivedVm(vm: Readonly<Record<keyof ArchivedVm, unknown>>): ArchivedVm {
  const known = Object.keys(vmSchema.shape) as (keyof ArchivedVm)[]
  return Object.fromEntries(known.map((key) => [key, vm[key]])) as ArchivedVm
}

/** @throws RametError `CHECKPOINT_DAMAGED`; `CHECKPOINT_UNFIT` for another version */
export function parseArchiveManifest(bytes: Buffer): ArchiveManifest {
  const value = parseJson(bytes, manifestFile)
  if (isOtherVersion(value)) {
    throw new RametError('CHECKPOINT_UNFIT', {
      message: `this snapshot was exported in version ${value.version}; this Ramet reads version ${archiveVersion}`,
      remediation: 'Import it with the Ramet that can read it, or export it again with this one.',
    })
  }
  const result = manifestSchema.safeParse(value)
  if (result.success) return result.data
  const [issue] = result.error.issues
  throw badArchive(`${manifestFile} is none: ${issue?.path.join('.')} ${issue?.message}`, result.error)
}

function isOtherVersion(value: unknown): value is { version: number } {
  if (typeof value !== 'object' || value === null || !('format' in value) || !('version' in value)) return false
  return value.format === format && typeof value.version === 'number' && value.version !== archiveVersion
}

/** @throws RametError `CHECKPOINT_DAMAGED` */
export function parseDigests(bytes: Buffer): ArchiveDigests {
  const result = z.record(z.string().max(99), sha256).safeParse(parseJson(bytes, digestsFile))
  if (result.success) return result.data
  throw badArchive(`${digestsFile} is none`, result.error)
}

export function encodeDigests(digests: ArchiveDigests): Buffer {
  return Buffer.from(`${JSON.stringify(digests, undefined, 2)}\n`)
}

function parseJson(bytes: Buffer, file: string): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch (error) {
    throw badArchive(`${file} is not JSON`, error)
  }
}
