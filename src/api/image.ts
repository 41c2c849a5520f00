import { z } from 'zod'
import { Bytes, Labels, Name, pageOf, queryFlag, Time } from './primitives.ts'

export const imageStates = ['building', 'ready', 'failed', 'removing'] as const

/** What vms boot from: a kernel, an initramfs with the agent, and maybe a root disk. Immutable. */
export const Image = z
  .object({
    id: z.string().describe('Id.'),
    name: Name,
    tag: z.string().describe('Tag; `latest` unless another was given.'),
    digest: z.string().describe('SHA-256 of the recipe, or of the content for an imported image, in hex.'),
    state: z.enum(imageStates).describe('Whether vms can boot from it.'),
    kind: z.enum(['built', 'imported']).describe('Where it came from.'),
    init: z.enum(['agent', 'system']).describe('First process unless a vm asks for the other.'),
    diskBytes: Bytes.describe('Size of the root disk as the guest sees it, bytes; 0 without one.'),
    storedBytes: Bytes.describe('Room it takes on disk, bytes.'),
    defaultMemoryBytes: Bytes.describe('Guest memory of a vm that does not say, bytes.'),
    kernel: z.string().describe('Version of the kernel.'),
    agentProtocol: z.int().optional().describe('Protocol version of its agent.'),
    labels: Labels,
    vmCount: z.int().nonnegative().describe('Vms, templates and snapshots that depend on it.'),
    createdAt: Time.describe('When it was made.'),
  })
  .meta({ id: 'Image', description: 'What vms boot from.' })
export type Image = z.infer<typeof Image>

export const ImagePage = pageOf(Image, 'ImagePage')

export const recipes = ['micro', 'debian'] as const
export type Recipe = (typeof recipes)[number]

export const ImageBuild = z
  .strictObject({
    recipe: z.enum(recipes).describe('micro: busybox without a disk · debian: bookworm with python3.'),
    name: Name.optional().describe('Name of the image; that of the recipe when left out.'),
    rebuild: z.boolean().default(false).describe('Build again even if this recipe has been built.'),
  })
  .meta({ id: 'ImageBuild', description: 'An image to build.', examples: [{ recipe: 'micro' }] })
export type ImageBuild = z.infer<typeof ImageBuild>
export type ImageBuildInput = z.input<typeof ImageBuild>

/** Query of an import; the file itself is the body. No path of the host is ever named in a request. */
export const ImageImport = z
  .strictObject({
    name: Name,
    format: z
      .enum(['auto', 'tar', 'ext4', 'qcow2'])
      .default('auto')
      .describe('tar: a root file system, plain or compressed by gzip or zstd · ext4, qcow2: a disk.'),
    init: z.enum(['agent', 'system']).default('agent').describe('First process of vms that do not say.'),
    replace: queryFlag.default(false).describe('Give the name to this image even if another has it.'),
  })
  .meta({ id: 'ImageImport', description: 'An image to import.' })
export type ImageImport = z.infer<typeof ImageImport>
export type ImageImportInput = z.input<typeof ImageImport>
