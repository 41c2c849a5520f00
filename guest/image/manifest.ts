/** `manifest.json` of an image: what it is, how it boots, and what its files must be. */
import { z } from 'zod'
import { RametError } from '../../src/shared/errors.ts'

export const manifestFile = 'manifest.json'
export const kernelFile = 'kernel'
export const initrdFile = 'initrd'
export const diskFile = 'disk.qcow2'

export const imageIdPattern = /^img-[0-9a-f]{12}$/

const sha256 = z.string().regex(/^[0-9a-f]{64}$/)

const manifestSchema = z.strictObject({
  schemaVersion: z.literal(1),
  id: z.string().regex(imageIdPattern),
  recipe: z.enum(['micro', 'debian', 'import']),
  /** who is process 1 in the guest: our agent, or the image's own init with the agent as its child */
  init: z.enum(['agent', 'system']),
  kernelVersion: z.string().min(1),
  /** the kernel's whole command line */
  cmdline: z.string().min(1),
  disk: z.nullable(z.strictObject({ virtualBytes: z.int().positive(), format: z.literal('qcow2') })),
  /** ISO 8601 */
  createdAt: z.iso.datetime(),
  /** over the artefacts below: see `digestOfFiles` */
  digest: sha256,
  agentDigest: sha256,
  /** file name an import came from, without its directory */
  source: z.string().optional(),
  /** every artefact by name; the manifest itself excepted */
  files: z.record(z.string(), z.strictObject({ bytes: z.int().nonnegative(), sha256 })),
})

export type ImageManifest = z.infer<typeof manifestSchema>
export type ImageFiles = ImageManifest['files']

/** @throws RametError `IMAGE_INVALID` naming the field */
export function parseManifest(text: string, where: string): ImageManifest {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new RametError('IMAGE_INVALID', { message: `${where} is not JSON`, cause: error })
  }
  const parsed = manifestSchema.safeParse(value)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  throw new RametError('IMAGE_INVALID', {
    message: `${where} is not a manifest of this version: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`,
  })
}
