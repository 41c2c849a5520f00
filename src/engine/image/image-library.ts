import { rm } from 'node:fs/promises'
import { loadImage } from '../../../guest/image/load.ts'
import type { ImageManifest } from '../../../guest/image/manifest.ts'
import { RametError } from '../../shared/errors.ts'
import type { EngineContext } from '../context.ts'
import type { ImageRecord } from '../records.ts'
import { imageRef } from '../vm/vm-view.ts'

/** Images by name, and their manifests. A manifest never changes, so it is read once. */
export class ImageLibrary {
  readonly #context: EngineContext
  readonly #manifests = new Map<string, ImageManifest>()

  constructor(context: EngineContext) {
    this.#context = context
  }

  /** By id, `name` or `name:tag`. @throws RametError `IMAGE_NOT_FOUND` */
  find(ref: string): ImageRecord {
    const wanted = ref.includes(':') || ref.startsWith('img-') ? ref : `${ref}:latest`
    const found = this.#context.images.list().find((image) => image.id === ref || imageRef(image) === wanted)
    if (found !== undefined) return found
    const names = this.#context.images.list().map(imageRef)
    const known = names.length === 0 ? 'there are none yet' : `there are: ${names.join(', ')}`
    throw new RametError('IMAGE_NOT_FOUND', {
      message: `there is no image “${ref}” (${known})`,
      remediation: recipeNames.has(ref)
        ? `Build it with \`ramet image build ${ref}\`.`
        : 'See `ramet image ls`, or build one with `ramet image build micro`.',
    })
  }

  /** @throws RametError `IMAGE_INVALID`, `IMAGE_NOT_FOUND` */
  async manifest(imageId: string): Promise<ImageManifest> {
    const known = this.#manifests.get(imageId)
    if (known !== undefined) return known
    const manifest = await loadImage(this.#context.paths.imagesDir, imageId)
    this.#manifests.set(imageId, manifest)
    return manifest
  }

  /** Names of the vms, templates and snapshots that stand on an image. */
  dependents(imageId: string): string[] {
    const { vms, templates, snapshots } = this.#context
    const saved = snapshots.list().map(({ name, vm }) => ({ name, imageId: vm.imageId }))
    return [...vms.list(), ...templates.list(), ...saved]
      .filter((thing) => thing.imageId === imageId)
      .map((thing) => thing.name)
  }

  async removeFiles(imageId: string): Promise<void> {
    this.#manifests.delete(imageId)
    await rm(this.#context.paths.image(imageId), { recursive: true, force: true })
  }
}

const recipeNames: ReadonlySet<string> = new Set(['micro', 'debian'])
