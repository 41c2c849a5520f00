import { existsSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import type { ImageManifest } from '../../../guest/image/manifest.ts'
import { type DiskChain, openChain } from '../../disk/chain.ts'
import { type DigestOptions, digestFile, type FileStamp, readStamp, sameStamp } from '../../disk/file-stamp.ts'
import { diskFile } from '../../fork/disk-file.ts'
import { asRametError, isRametError, type RametError } from '../../shared/errors.ts'
import type { EngineContext } from '../context.ts'
import type { ImageLibrary } from '../image/image-library.ts'
import type { DiskBase, DiskRecord, Fingerprint, SnapshotRecord, VmRecord } from '../records.ts'
import { Registry } from '../registry.ts'
import { damagedBase } from './damaged-base.ts'

/** What stands on files that must not have changed. */
export interface Standing {
  imageId: string
  disks: readonly DiskRecord[]
}

/** A file, and whose it is. */
type Owned = Pick<Fingerprint, 'owner' | 'ownerId' | 'file'>

/**
 * Keeps the content of immutable files apart from the files: digest and stamp, taken when each was sealed or
 * imported. Before anything starts over a file its stamp is looked at, which takes microseconds; only when that
 * differs is the file read again. The same content is accepted under its new stamp, another one is refused.
 */
export class Fingerprints {
  readonly #context: EngineContext
  readonly #images: ImageLibrary
  #records: Promise<Registry<Fingerprint>> | undefined
  /** being read, once for all who ask */
  readonly #reading = new Map<string, Promise<Fingerprint>>()
  /** found damaged, by the stamp that they had then: as long as that is so, it need not be read again */
  readonly #damaged = new Map<string, { stamp: FileStamp; error: RametError }>()

  constructor(context: EngineContext, images: ImageLibrary) {
    this.#context = context
    this.#images = images
  }

  /**
   * Reads all files of an image and remembers them.
   *
   * @throws RametError `BASE_DAMAGED` when one is not what the manifest says, or what it was before
   */
  async recordImage(manifest: ImageManifest, options: DigestOptions = {}): Promise<void> {
    for (const file of Object.keys(manifest.files)) await this.#recordImageFile(manifest, file, options)
  }

  /**
   * Reads the disks that a template has sealed and remembers them, as what they were from the beginning.
   *
   * @throws RametError `BASE_DAMAGED`, the signal's reason
   */
  async recordTemplate(templateId: string, disks: readonly DiskRecord[], options: DigestOptions = {}): Promise<void> {
    for (const { base } of disks) if (base?.ownerId === templateId) await this.#recordDisk(base, options)
  }

  /**
   * Reads the disks of a snapshot that has just been made or imported, and remembers them.
   *
   * @throws RametError `CHECKPOINT_DAMAGED`, the signal's reason
   */
  async recordSnapshot(id: string, diskCount: number, options: DigestOptions = {}): Promise<void> {
    for (let index = 0; index < diskCount; index += 1) {
      const draft = this.#draft({ owner: 'snapshot', ownerId: id, file: diskFile(index) })
      await this.#store({ ...draft, ...(await this.#digest(draft, options)) })
    }
  }

  /**
   * Refuses to go on with a snapshot of which a disk has changed.
   *
   * @returns SHA-256 of each of its disks, in hex, by name of the file
   * @throws RametError `CHECKPOINT_DAMAGED` naming file, snapshot, what differs and the remedy
   */
  async checkSnapshot({ id, vm }: Pick<SnapshotRecord, 'id' | 'vm'>): Promise<Map<string, string>> {
    const records = await this.#open()
    const digests = new Map<string, string>()
    for (const index of vm.disks.keys()) {
      const file = diskFile(index)
      const known = records.get(idOf(id, file))
      // Taken before the snapshot was ready: what is there now proves nothing.
      if (known === undefined)
        throw damagedBase(
          this.#context,
          this.#draft({ owner: 'snapshot', ownerId: id, file }),
          'nothing tells what it was',
        )
      await this.#checkOne(known)
      digests.set(file, known.sha256)
    }
    return digests
  }

  /**
   * Refuses to go on over a file that has changed.
   *
   * @throws RametError `BASE_DAMAGED` naming file, owner, what differs and the remedy
   */
  async check(standing: Standing): Promise<void> {
    const records = await this.#open()
    const manifest = await this.#images.manifest(standing.imageId)
    for (const file of Object.keys(manifest.files)) {
      const known = records.get(idOf(manifest.id, file)) ?? (await this.#recordImageFile(manifest, file, {}))
      await this.#checkOne(known)
    }
    for (const { base } of standing.disks) if (base !== undefined) await this.#checkDown(base)
  }

  /**
   * Checks that a stopped vm's own disks, as far as they have been made, stand on the very bases that they were
   * made over.
   *
   * @throws RametError `BASE_DAMAGED`, `IMAGE_INVALID`
   */
  async checkDeltas(vm: Pick<VmRecord, 'id' | 'disks'>): Promise<void> {
    const { paths } = this.#context
    for (const index of vm.disks.keys()) {
      const path = join(paths.vm(vm.id), diskFile(index))
      if (existsSync(path)) await openChain(path, paths.baseRoots)
    }
  }

  /**
   * Reads again whatever was not read since the host was started: what a crash or a worn disk did to a file changes no
   * stamp. One after the other, in the background; what is damaged is refused from then on, and logged at once.
   */
  async verifyOlder(signal: AbortSignal): Promise<void> {
    const { host, log } = this.#context
    const records = await this.#open()
    for (const known of records.list().filter(({ bootId }) => bootId !== host.bootId)) {
      if (signal.aborted) return
      await this.#verify(known, { signal }).catch((error: unknown) => {
        if (!signal.aborted) log.error({ base: known.id, error: asRametError(error).message }, 'a base is damaged')
      })
    }
  }

  /**
   * What the whole content of a disk base is, as it was when it was sealed or imported, and is now.
   *
   * @throws RametError `BASE_DAMAGED`
   */
  async sha256Of(base: DiskBase): Promise<string> {
    const known = await this.#known(base)
    await this.#checkOne(known)
    return known.sha256
  }

  /** Forgets all files of an image, template or snapshot that is removed. */
  async forget(ownerId: string): Promise<void> {
    const records = await this.#open()
    for (const { id } of records.list().filter((known) => known.ownerId === ownerId)) {
      this.#damaged.delete(id)
      await records.remove(id)
    }
  }

  #open(): Promise<Registry<Fingerprint>> {
    this.#records ??= Registry.open<Fingerprint>(this.#context.store, 'fingerprints', 'fingerprint', 'NOT_FOUND')
    return this.#records
  }

  /** A disk base and whatever it stands on. */
  async #checkDown(base: DiskBase): Promise<void> {
    const records = await this.#open()
    // Made by a Ramet that did not take fingerprints: what it is now is all that is known.
    let known: Fingerprint | undefined =
      records.get(idOf(base.ownerId, base.file)) ?? (await this.#recordDisk(base, {}))
    while (known !== undefined) {
      await this.#checkOne(known)
      known = known.below === undefined ? undefined : records.get(known.below)
    }
  }

  async #checkOne(known: Fingerprint): Promise<void> {
    const stamp = this.#stampOf(known)
    const found = this.#damaged.get(known.id)
    if (found !== undefined && sameStamp(found.stamp, stamp)) throw found.error
    if (!sameStamp(known.stamp, stamp)) await this.#verify(known, {})
  }

  #stampOf(known: Fingerprint): FileStamp {
    try {
      return readStamp(this.#pathOf(known))
    } catch (error) {
      throw damagedBase(this.#context, known, error)
    }
  }

  #once(id: string, read: () => Promise<Fingerprint>): Promise<Fingerprint> {
    const known = this.#reading.get(id)
    if (known !== undefined) return known
    const reading = read().finally(() => this.#reading.delete(id))
    this.#reading.set(id, reading)
    return reading
  }

  #verify(known: Fingerprint, options: DigestOptions): Promise<Fingerprint> {
    return this.#once(known.id, () => this.#readAgain(known, options))
  }

  async #readAgain(known: Fingerprint, options: DigestOptions): Promise<Fingerprint> {
    const { log, host } = this.#context
    const records = await this.#open()
    const { sha256, stamp } = await this.#digest(known, options)
    if (sha256 !== known.sha256) {
      const error = damagedBase(this.#context, known, { sha256, stamp })
      this.#damaged.set(known.id, { stamp, error })
      throw error
    }
    this.#damaged.delete(known.id)
    log.info({ base: known.id }, 'a base was read again, and is what it was')
    return records.update(known.id, { stamp, bootId: host.bootId })
  }

  async #digest(known: Fingerprint, options: DigestOptions) {
    try {
      return await digestFile(this.#pathOf(known), options)
    } catch (error) {
      if (isRametError(error, 'BASE_DAMAGED')) throw damagedBase(this.#context, known, error)
      throw error
    }
  }

  #recordImageFile(manifest: ImageManifest, file: string, options: DigestOptions): Promise<Fingerprint> {
    return this.#once(idOf(manifest.id, file), async () => {
      const expected = manifest.files[file]?.sha256
      const draft = { ...this.#draft({ owner: 'image', ownerId: manifest.id, file }), sha256: expected ?? '' }
      const { sha256, stamp } = await this.#digest(draft, options)
      if (sha256 !== expected) throw damagedBase(this.#context, draft, { sha256, stamp })
      return this.#store({ ...draft, stamp })
    })
  }

  #recordDisk(base: DiskBase, options: DigestOptions): Promise<Fingerprint> {
    return this.#once(idOf(base.ownerId, base.file), () => this.#readDisk(base, options))
  }

  async #readDisk(base: DiskBase, options: DigestOptions): Promise<Fingerprint> {
    const draft = this.#draft(base)
    let chain: DiskChain
    try {
      chain = await openChain(this.#pathOf(base), this.#context.paths.baseRoots)
    } catch (error) {
      throw damagedBase(this.#context, draft, error)
    }
    const [, below] = chain.layers
    const belowBase = below === undefined ? undefined : this.#baseAt(below.path)
    const { sha256, stamp } = await this.#digest(draft, options)
    return this.#store({
      ...draft,
      sha256,
      stamp,
      ...(belowBase === undefined ? {} : { below: (await this.#known(belowBase)).id }),
    })
  }

  async #known(base: DiskBase): Promise<Fingerprint> {
    const records = await this.#open()
    return records.get(idOf(base.ownerId, base.file)) ?? (await this.#recordDisk(base, {}))
  }

  #draft(of: Owned): Fingerprint {
    const id = idOf(of.ownerId, of.file)
    const stamp = { sizeBytes: 0, inode: '', mtimeNs: '', ctimeNs: '' }
    return { schemaVersion: 1, id, name: id, ...of, sha256: '', stamp, bootId: this.#context.host.bootId }
  }

  async #store(fingerprint: Fingerprint): Promise<Fingerprint> {
    const records = await this.#open()
    const known = records.get(fingerprint.id)
    if (known === undefined) return records.create(fingerprint)
    if (known.sha256 === fingerprint.sha256) return records.update(known.id, fingerprint)
    throw damagedBase(this.#context, known, fingerprint)
  }

  #pathOf({ owner, ownerId, file }: Owned): string {
    const { paths } = this.#context
    const dirs = { image: paths.image(ownerId), template: paths.template(ownerId), snapshot: paths.snapshot(ownerId) }
    return join(dirs[owner], file)
  }

  #baseAt(path: string): DiskBase {
    const dir = dirname(path)
    const owner = dirname(dir) === this.#context.paths.templatesDir ? 'template' : 'image'
    return { owner, ownerId: basename(dir), file: basename(path) }
  }
}

function idOf(ownerId: string, file: string): string {
  return `${ownerId}/${file}`
}
