/** What a checkpoint tells of itself, as JSON that people can read with any tool. */
import { z } from 'zod'
import { pageBytes } from '../../memory/base.ts'
import { limits } from '../../shared/limits.ts'
import { damaged } from './damaged.ts'

const text = z.string().min(1).max(255)
const count = z.int().nonnegative()

/** A model's name alone: after a comma, whoever wrote the file would choose properties of a processor on this host. */
const cpuModel = z.string().regex(/^[A-Za-z0-9][\w.-]{0,63}$/, 'not a name of a cpu model')

/** The frozen part of a machine; the same fields as `MachineDescription`. */
const machineSchema = z.object({
  machine: text,
  accelerator: z.enum(['kvm', 'tcg']),
  cpuModel: cpuModel.exactOptional(),
  cpuCount: z.int().positive(),
  cpuMaxCount: z.int().positive(),
  memoryBytes: z.int().positive().max(limits.memoryMaxBytes),
  memorySlotCount: count,
  memoryMaxBytes: z.int().positive(),
  diskCount: count,
  nicCount: count,
  sparePortCount: count,
})

const ramBlockSchema = z.object({
  /** QEMU's name of it */
  name: text,
  /** whole pages */
  usedBytes: z.int().positive().multipleOf(pageBytes),
  /** guest RAM, in blocks of pages · whole in the section `roms` · filled again by the QEMU that loads the devices */
  content: z.enum(['pages', 'rom', 'none']),
})

const countsSchema = z.object({
  /** of guest RAM; the sum of the next three */
  pages: z.int().positive(),
  /** all zeros, not stored */
  zero: count,
  /** equal to the base's, not stored */
  base: count,
  stored: count,
  blocks: count,
  /** of all blocks, compressed */
  storedBytes: count,
})

const manifestSchema = z.object({
  format: z.literal('ramet-checkpoint'),
  /** ISO 8601, UTC */
  createdAt: z.iso.datetime(),
  rametVersion: text,
  /** of the QEMU whose devices these are: `7.2.22` */
  qemuVersion: text,
  machine: machineSchema,
  /** that the guest's CPU had, by QEMU's names, ascending; empty when they could not be asked for */
  cpuFeatures: z.array(text).max(1024),
  pageBytes: z.literal(pageBytes),
  ramBlocks: z.array(ramBlockSchema).min(1).max(256),
  order: z.object({
    /** by address in the guest's processes, or as the pages lie in its memory */
    kind: z.enum(['virtual', 'physical']),
    /** one sentence: why it is this one */
    reason: z.string().max(1000),
  }),
  /** what the pages counted as `base` are to be read from; null when there are none */
  base: z.object({ id: text, digest: text }).nullable(),
  counts: countsSchema,
})

export type Manifest = z.infer<typeof manifestSchema>
export type PageCounts = Manifest['counts']
/** An immutable memory image, by its name and the digest of its content. */
export type BaseReference = NonNullable<Manifest['base']>
/** One block of RAM in a manifest. */
export type ManifestBlock = Manifest['ramBlocks'][number]

/**
 * @param file named in errors
 * @throws RametError `CHECKPOINT_DAMAGED`: the bytes match their checksum, so whoever wrote them was no Ramet
 */
export function parseManifest(bytes: Buffer, file: string): Manifest {
  const result = manifestSchema.safeParse(parseJson(bytes, file))
  if (!result.success) {
    const [issue] = result.error.issues
    throw damaged(file, 'manifest', `is not one: ${issue?.path.join('.')} ${issue?.message}`, result.error)
  }
  const why = whyUneven(result.data)
  if (why !== undefined) throw damaged(file, 'manifest', why)
  return result.data
}

function parseJson(bytes: Buffer, file: string): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch (error) {
    throw damaged(file, 'manifest', 'is not JSON', error)
  }
}

function whyUneven({ ramBlocks, machine, counts, base }: Manifest): string | undefined {
  if (new Set(ramBlocks.map(({ name }) => name)).size !== ramBlocks.length) return 'names a RAM block twice'
  const paged = ramBlocks.filter(({ content }) => content === 'pages')
  if (paged.length !== 1 || paged[0]?.usedBytes !== machine.memoryBytes) return 'has not one RAM block for its memory'
  if (romBytesOf(ramBlocks) > limits.romBytes) return `has ROMs of more than ${limits.romBytes} bytes`
  if (counts.zero + counts.base + counts.stored !== counts.pages) return 'counts other pages than it has'
  if (counts.base > 0 && base === null) return 'counts pages of a base that it does not name'
  return undefined
}

/** Length of the section `roms` before compression. */
export function romBytesOf(blocks: readonly ManifestBlock[]): number {
  return blocks.reduce((sum, { usedBytes, content }) => sum + (content === 'rom' ? usedBytes : 0), 0)
}
