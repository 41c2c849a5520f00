import { chmod, chown, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buildImage } from '../../guest/image/build.ts'
import { diskFile, type ImageManifest, initrdFile, kernelFile } from '../../guest/image/manifest.ts'
import { readHostFacts } from '../../src/engine/host/host-facts.ts'
import { resolveSettings } from '../../src/engine/settings.ts'
import type { ProcessUser } from '../../src/host/spawn-detached.ts'
import { defaultUidRange } from '../../src/host/uids.ts'
import { guestMemoryBytes } from '../../src/qemu/guest-memory.ts'
import type { Boot, MachineDescription } from '../../src/qemu/machine-description.ts'

/** Where guests of this measurement are made, and what all of them have in common. */
export interface Site extends AsyncDisposable {
  /** removed in the end, with all that is in it */
  readonly dir: string
  readonly machine: MachineDescription
  readonly boot: Boot
  /** immutable disk with Debian and Python */
  readonly imageDisk: string
  readonly qemuVersion: string
  /** that QEMU runs as */
  readonly user: ProcessUser | undefined
  readonly signal: AbortSignal
  say(text: string): void
}

export interface SiteOptions {
  memoryBytes: number
  /** where to put it all; the system's directory for temporary files when left out */
  dir?: string
  signal: AbortSignal
  say(text: string): void
}

/** The image is Ramet's own `debian`, built when it is not in the cache; machine and user are as a daemon would choose them. */
export async function openSite({ memoryBytes, dir: inside = tmpdir(), signal, say }: SiteOptions): Promise<Site> {
  const dir = await mkdtemp(join(inside, 'ramet-restore-'))
  const close = () => rm(dir, { recursive: true, force: true })
  try {
    // Guests run as a user of their own, who must be able to pass through, though not to look.
    await chmod(dir, 0o711)
    const { cacheDir } = resolveSettings({ dataDir: dir })
    const imagesDir = process.env.RAMET_IMAGES_DIR ?? join(cacheDir, 'images')
    await mkdir(imagesDir, { recursive: true, mode: 0o711 })
    const manifest = await buildImage('debian', {
      imagesDir,
      cacheDir,
      signal,
      onProgress: ({ message }) => say(message),
    })
    const host = await readHostFacts(dir)
    const imageDir = join(imagesDir, manifest.id)
    const sizeBytes = guestMemoryBytes(memoryBytes)
    return {
      dir,
      machine: {
        ...{ machine: host.machineType, accelerator: host.accelerator, cpuCount: 1, cpuMaxCount: 1 },
        ...{ memoryBytes: sizeBytes, memoryMaxBytes: sizeBytes, memorySlotCount: 0 },
        ...{ diskCount: 1, nicCount: 1, sparePortCount: 1 },
      },
      boot: bootOf(imageDir, manifest),
      imageDisk: join(imageDir, diskFile),
      qemuVersion: host.qemuVersion,
      user: host.userPerVm ? userOf(host.kvmGroup) : undefined,
      signal,
      say,
      [Symbol.asyncDispose]: close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

function bootOf(imageDir: string, { cmdline }: ImageManifest): Boot {
  return {
    kind: 'kernel',
    kernelPath: join(imageDir, kernelFile),
    initrdPath: join(imageDir, initrdFile),
    append: cmdline,
  }
}

/** The last of the users that a daemon would give to a vm. */
function userOf(kvmGroup: number | undefined): ProcessUser {
  const uid = defaultUidRange.first + defaultUidRange.count - 1
  return { uid, gid: uid, ...(kvmGroup === undefined ? {} : { groups: [kvmGroup] }) }
}

/** A directory for one guest, which belongs to its user. */
export async function guestDirectory(site: Site): Promise<string> {
  const dir = await mkdtemp(join(site.dir, 'guest-'))
  if (site.user !== undefined) await chown(dir, site.user.uid, site.user.gid)
  return dir
}
