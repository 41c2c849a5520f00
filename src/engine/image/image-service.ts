import { createWriteStream } from 'node:fs'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { buildImage } from '../../../guest/image/build.ts'
import type { BuildContext, ImageProgress } from '../../../guest/image/context.ts'
import { importImage } from '../../../guest/image/import.ts'
import type { ImageManifest } from '../../../guest/image/manifest.ts'
import type { Image, ImageBuild, ImageImport } from '../../api/image.ts'
import { asRametError, RametError } from '../../shared/errors.ts'
import { newId } from '../../shared/ids.ts'
import type { Action, CallContext } from '../contract.ts'
import type { ForkParts } from '../fork/fork-parts.ts'
import type { OperationHandle } from '../operations.ts'
import type { ImageRecord } from '../records.ts'
import { defaultMemoryBytes } from '../vm/vm-plan.ts'
import { imageRef } from '../vm/vm-view.ts'

const defaultTag = 'latest'

/** Builds, imports and removes images. */
export class ImageService {
  readonly #parts: ForkParts

  constructor(parts: ForkParts) {
    this.#parts = parts
  }

  async view(image: ImageRecord): Promise<Image> {
    const manifest = await this.#parts.images.manifest(image.id)
    const storedBytes = Object.values(manifest.files).reduce((sum, file) => sum + file.bytes, 0)
    return {
      id: image.id,
      name: image.name,
      tag: image.tag,
      digest: manifest.digest,
      state: 'ready',
      kind: manifest.recipe === 'import' ? 'imported' : 'built',
      init: manifest.init,
      diskBytes: manifest.disk?.virtualBytes ?? 0,
      storedBytes,
      defaultMemoryBytes,
      kernel: manifest.kernelVersion,
      labels: image.labels,
      vmCount: this.#parts.images.dependents(image.id).length,
      createdAt: manifest.createdAt,
    }
  }

  /** @throws RametError as `Engine.buildImage` */
  async build(request: ImageBuild, call?: CallContext): Promise<Action<Image>> {
    const name = request.name ?? request.recipe
    const target = { kind: 'image' as const, id: newId('op', this.#parts.context.random), name }
    return this.#parts.context.operations.begin('image.build', target, call, async (handle) => {
      const manifest = await buildImage(request.recipe, this.#buildContext(handle))
      return this.#register(manifest, name, true)
    })
  }

  /** @throws RametError as `Engine.importImage` */
  async import(request: ImageImport, body: AsyncIterable<Uint8Array>, call?: CallContext): Promise<Action<Image>> {
    const { context } = this.#parts
    if (!request.replace && this.#named(request.name) !== undefined)
      throw new RametError('NAME_TAKEN', { message: `there is an image “${request.name}” already` })
    const dir = await mkdtemp(join(context.paths.cacheDir, 'import-'))
    const file = join(dir, 'upload')
    try {
      await pipeline(Readable.from(body), createWriteStream(file, { mode: 0o600 }))
      if ((await stat(file)).size === 0) throw new RametError('IMAGE_INVALID', { message: 'the file is empty' })
    } catch (error) {
      await rm(dir, { recursive: true, force: true })
      throw asRametError(error)
    }
    const target = { kind: 'image' as const, id: newId('op', context.random), name: request.name }
    return context.operations.begin('image.import', target, call, async (handle) => {
      try {
        const manifest = await importImage({ file, init: request.init }, this.#buildContext(handle))
        return await this.#register(manifest, request.name, request.replace)
      } finally {
        await rm(dir, { recursive: true, force: true })
      }
    })
  }

  /** @throws RametError `IMAGE_NOT_FOUND`, `IN_USE` */
  async remove(ref: string, call?: CallContext): Promise<Action<void>> {
    const { context, images, fingerprints, uses } = this.#parts
    const image = images.find(ref)
    const check = () => {
      const dependents = images.dependents(image.id)
      if (dependents.length === 0 && !uses.isHeld(image.id)) return
      if (dependents.length === 0)
        throw new RametError('IN_USE', {
          message: `a snapshot that stands on ${imageRef(image)} is being imported`,
          remediation: 'Wait until that is over, or cancel its operation.',
        })
      throw new RametError('IN_USE', {
        message: `${imageRef(image)} is used by ${dependents.length}: ${dependents.slice(0, 10).join(', ')}`,
        details: { dependents },
      })
    }
    check()
    const target = { kind: 'image' as const, id: image.id, name: imageRef(image) }
    return context.operations.begin('image.remove', target, call, async () => {
      check()
      await context.images.remove(image.id)
      await fingerprints.forget(image.id)
      if (context.settings.sharedImagesDir === undefined) await images.removeFiles(image.id)
      context.events.emit({ type: 'image.removed', resource: { kind: 'image', id: image.id, name: imageRef(image) } })
    })
  }

  async #register(manifest: ImageManifest, name: string, replace: boolean): Promise<Image> {
    const { context } = this.#parts
    const before = this.#named(name)
    if (before?.id === manifest.id) return this.view(before)
    const known = context.images.get(manifest.id)
    if (known?.tag === defaultTag) {
      throw new RametError('IN_USE', {
        message: `this very image is there already, as ${imageRef(known)}`,
        remediation: `Use it by that name, or remove it first: \`ramet image rm ${imageRef(known)}\`.`,
      })
    }
    if (before !== undefined) {
      if (!replace) throw new RametError('NAME_TAKEN', { message: `there is an image “${name}” already` })
      // The older one stays for the vms that stand on it, under a name that says which it was.
      await context.images.update(before.id, {
        tag: before.id.slice(4),
        name: `${before.name.slice(0, 40)}-${before.id.slice(4)}`,
      })
    }
    const record: ImageRecord = {
      schemaVersion: 1,
      id: manifest.id,
      name,
      tag: defaultTag,
      labels: {},
      createdAtMs: context.clock.nowMs(),
    }
    await this.#parts.fingerprints.recordImage(manifest)
    // Known under the name of an older one, it comes back to be the newest.
    const image =
      known === undefined ? await context.images.create(record) : await context.images.update(known.id, record)
    context.events.emit({ type: 'image.created', resource: { kind: 'image', id: image.id, name: imageRef(image) } })
    return this.view(image)
  }

  #named(name: string): ImageRecord | undefined {
    return this.#parts.context.images.list().find((image) => image.name === name && image.tag === defaultTag)
  }

  #buildContext(handle: OperationHandle): BuildContext {
    const { context } = this.#parts
    return {
      imagesDir: context.paths.imagesDir,
      cacheDir: context.paths.cacheDir,
      signal: handle.signal,
      log: context.log,
      onProgress: (progress: ImageProgress) => handle.progress(progress),
    }
  }
}
