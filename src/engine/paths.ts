import { mkdir, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf } from '../shared/errors.ts'
import type { EngineSettings } from './settings.ts'

/** The layout of the data directory. Nothing stored in it names the directory itself, so that it can be moved. */
export class Paths {
  readonly dataDir: string
  readonly imagesDir: string
  readonly #sharedImagesDir: string | undefined
  readonly cacheDir: string
  readonly database: string
  /** takes room that the records get when the disk is full */
  readonly reserve: string
  readonly vmsDir: string
  readonly templatesDir: string
  /** frozen deltas, which no vm owns while others read them */
  readonly deltasDir: string
  readonly snapshotsDir: string
  /** checkpoints of vms that are paused to disk, where only the daemon can write */
  readonly suspendedDir: string
  /** where the page server is asked */
  readonly pageServerSocket: string
  /** consoles, which only the daemon writes to: a vm's own directory belongs to its user */
  readonly consolesDir: string

  constructor(settings: EngineSettings) {
    this.dataDir = settings.dataDir
    this.imagesDir = join(settings.dataDir, 'images')
    this.#sharedImagesDir = settings.sharedImagesDir
    this.cacheDir = settings.cacheDir
    this.database = join(settings.dataDir, 'ramet.db')
    this.reserve = join(settings.dataDir, 'reserve')
    this.vmsDir = join(settings.dataDir, 'vms')
    this.templatesDir = join(settings.dataDir, 'templates')
    this.deltasDir = join(settings.dataDir, 'deltas')
    this.snapshotsDir = join(settings.dataDir, 'snapshots')
    this.suspendedDir = join(settings.dataDir, 'suspended')
    this.pageServerSocket = join(settings.dataDir, 'page-server.sock')
    this.consolesDir = join(settings.dataDir, 'consoles')
  }

  vm(id: string): string {
    return join(this.vmsDir, id)
  }

  template(id: string): string {
    return join(this.templatesDir, id)
  }

  /** the disk of a frozen delta; as deep below the data directory as a vm's, since backing names are relative */
  delta(id: string): string {
    return join(this.deltasDir, id, 'disk.qcow2')
  }

  /** checkpoint file, working set and disks of a snapshot; the disks as deep below the data directory as a vm's */
  snapshot(id: string): string {
    return join(this.snapshotsDir, id)
  }

  /** directory with the checkpoint of a vm that is paused to disk */
  suspended(vmId: string): string {
    return join(this.suspendedDir, vmId)
  }

  image(id: string): string {
    return join(this.imagesDir, id)
  }

  /** Directories in which bases of disks may lie. */
  get baseRoots(): readonly string[] {
    return [this.imagesDir, this.templatesDir, this.deltasDir]
  }

  /** Makes the directories. A guest's user may pass through (0711) to what is its own, but list nothing. */
  async create(): Promise<void> {
    for (const path of [this.dataDir, this.vmsDir, this.templatesDir, this.deltasDir, this.cacheDir]) {
      await mkdir(path, { recursive: true, mode: 0o711 })
    }
    for (const path of [this.consolesDir, this.snapshotsDir, this.suspendedDir])
      await mkdir(path, { recursive: true, mode: 0o700 })
    await this.#createImagesDir()
  }

  /** Backing names are relative (`../../images/…`), so shared images are reached through a link in the same place. */
  async #createImagesDir(): Promise<void> {
    const shared = this.#sharedImagesDir
    await mkdir(shared ?? this.imagesDir, { recursive: true, mode: 0o711 })
    if (shared === undefined) return
    await symlink(shared, this.imagesDir).catch((error: unknown) => {
      if (errnoOf(error) !== 'EEXIST') throw error
    })
  }
}
