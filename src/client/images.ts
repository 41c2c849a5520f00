import type { Image, ImageBuildInput, ImageImportInput } from '../api/image.ts'
import { type ActionOptions, act } from './action.ts'
import { type CallOptions, split } from './call-options.ts'
import { allRows } from './pages.ts'
import { path, type Transport } from './transport.ts'

/** Options of {@link Images.import}. */
export type ImageImportOptions = Omit<ImageImportInput, 'replace'> & { replace?: boolean } & ActionOptions

/** The images of a daemon. Got from `ramet.images`. */
export class Images {
  readonly #transport: Transport

  /** @internal */
  constructor(transport: Transport) {
    this.#transport = transport
  }

  /** All images, oldest first. @throws RametApiError */
  async list(options: CallOptions = {}): Promise<Image[]> {
    return await allRows<Image>(this.#transport, { path: '/v1/images', signal: options.signal })
  }

  /** An image by id, name, or name:tag. @throws RametApiError `IMAGE_NOT_FOUND` */
  async get(ref: string, options: CallOptions = {}): Promise<Image> {
    return await this.#transport.json<Image>({ path: path`/v1/images/${ref}`, signal: options.signal })
  }

  /** Builds an image by its recipe, or answers the one there is. @throws RametApiError `IMAGE_BUILD_FAILED`, `NO_SPACE` */
  async build(options: ImageBuildInput & ActionOptions): Promise<Image> {
    const { wire, action } = split(options)
    return await act<Image>(this.#transport, { method: 'POST', path: '/v1/images/build', json: wire }, action)
  }

  /**
   * Imports a root file system (tar) or a disk (ext4, qcow2), sent as it is read.
   *
   * @throws RametApiError `IMAGE_INVALID`, `NAME_TAKEN`, `NO_SPACE`
   *
   * @example
   * ```ts
   * import { createReadStream } from 'node:fs'
   * import { Ramet } from 'ramet'
   * const image = await new Ramet().images.import(createReadStream('rootfs.tar.zst'), { name: 'mine' })
   * console.log(image.digest)
   * ```
   */
  async import(content: Uint8Array | AsyncIterable<Uint8Array>, options: ImageImportOptions): Promise<Image> {
    const { wire, action } = split(options)
    const request = {
      method: 'POST',
      path: '/v1/images/import',
      query: { ...wire },
      headers: { 'content-type': 'application/octet-stream' },
      body: content,
    } as const
    return await act<Image>(this.#transport, request, action)
  }

  /** Removes an image. @throws RametApiError `IN_USE` naming what depends on it */
  async remove(ref: string, options: ActionOptions = {}): Promise<void> {
    await act(this.#transport, { method: 'DELETE', path: path`/v1/images/${ref}` }, options)
  }
}
