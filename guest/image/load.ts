import { lstat, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf, RametError } from '../../src/shared/errors.ts'
import { describeFiles, digestOfFiles } from './digest.ts'
import { type ImageManifest, imageIdPattern, manifestFile, parseManifest } from './manifest.ts'

/**
 * Reads an image's manifest and checks that its files are there in full length.
 *
 * @throws RametError `IMAGE_NOT_FOUND`, `BASE_DAMAGED`
 */
export async function loadImage(imagesDir: string, id: string): Promise<ImageManifest> {
  const image = await findImage(imagesDir, id)
  if (image === undefined) throw new RametError('IMAGE_NOT_FOUND', { message: `there is no image ${id.slice(0, 80)}` })
  return image
}

/** As `loadImage`; undefined when there is none. */
export async function findImage(imagesDir: string, id: string): Promise<ImageManifest | undefined> {
  if (!imageIdPattern.test(id)) return undefined
  const dir = join(imagesDir, id)
  const where = `${id}/${manifestFile}`
  let text: string
  try {
    text = await readFile(join(dir, manifestFile), 'utf8')
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error
    if ((await sizeOf(dir)) === undefined) return undefined
    throw damaged(id, `it has no ${manifestFile}`)
  }
  const manifest = readManifest(text, id, where)
  if (manifest.id !== id) throw damaged(id, `its manifest is that of ${manifest.id}`)
  for (const [name, { bytes }] of Object.entries(manifest.files)) {
    const found = await sizeOf(join(dir, name))
    if (found !== bytes) throw damaged(id, `${name} has ${found ?? 'no'} bytes instead of ${bytes}`)
  }
  return manifest
}

/**
 * Reads every byte of an image and compares it with its manifest.
 *
 * @throws RametError `IMAGE_NOT_FOUND`, `BASE_DAMAGED`
 */
export async function verifyImage(imagesDir: string, id: string, signal?: AbortSignal): Promise<ImageManifest> {
  const manifest = await loadImage(imagesDir, id)
  const names = Object.keys(manifest.files)
  const files = await describeFiles(join(imagesDir, id), names, signal)
  const wrong = names.find((name) => files[name]?.sha256 !== manifest.files[name]?.sha256)
  if (wrong !== undefined) throw damaged(id, `the contents of ${wrong} have changed`)
  if (digestOfFiles(files) !== manifest.digest) throw damaged(id, 'its digest is not that of its files')
  return manifest
}

/** Of a plain file or a directory; what a link leads to does not count. */
async function sizeOf(path: string): Promise<number | undefined> {
  return lstat(path).then(
    (found) => (found.isFile() || found.isDirectory() ? found.size : undefined),
    (error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return undefined
      throw error
    },
  )
}

function readManifest(text: string, id: string, where: string): ImageManifest {
  try {
    return parseManifest(text, where)
  } catch (error) {
    throw damaged(id, error instanceof RametError ? error.message : `${where} cannot be read`, error)
  }
}

function damaged(id: string, what: string, cause?: unknown): RametError {
  return new RametError('BASE_DAMAGED', {
    message: `image ${id} is damaged: ${what}`,
    cause,
    details: { owner: { kind: 'image', id } },
    remediation: `Remove it with \`ramet image rm ${id}\`, then build or import it again.`,
  })
}
