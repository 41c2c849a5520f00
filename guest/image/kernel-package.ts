/** Debian's cloud kernel: found through its meta package, fetched into the cache, unpacked where a build works. */
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { type Clock, systemClock } from '../../src/shared/clock.ts'
import { isRametError, RametError } from '../../src/shared/errors.ts'
import { limits } from '../../src/shared/limits.ts'
import { giveToSandbox, privateApt } from './apt.ts'
import type { RunCommand } from './command.ts'
import { digestOfFile } from './digest.ts'

export const kernelMetaPackage = 'linux-image-cloud-amd64'

const cacheSchema = z.strictObject({
  /** file name in the cache's directory `kernel` */
  file: z.string().regex(/^[a-zA-Z0-9.+~%_-]+\.deb$/),
  sha256: z.string(),
  /** as the kernel calls itself: `6.1.0-56-cloud-amd64` */
  release: z.string().min(1),
  /** of the package: `6.1.192-2` */
  version: z.string().min(1),
  /** milliseconds since the epoch */
  resolvedAtMs: z.number(),
})

type CacheEntry = z.infer<typeof cacheSchema>

export interface KernelPackage {
  release: string
  version: string
  debPath: string
}

/**
 * The kernel package, from the cache while it is fresh. An old one goes on when no newer one can be asked for:
 * a host without a network keeps building.
 *
 * @param onFetch told before something is downloaded
 * @throws RametError `IMAGE_BUILD_FAILED`, `CANCELLED`
 */
export async function fetchKernel(
  cacheDir: string,
  run: RunCommand,
  onFetch: (message: string) => void,
  clock: Clock = systemClock,
): Promise<KernelPackage> {
  const dir = join(cacheDir, 'kernel')
  await mkdir(dir, { recursive: true })
  const cached = await readCache(dir)
  if (cached !== undefined && clock.nowMs() - cached.resolvedAtMs < limits.imageKernelCacheMs)
    return inCache(dir, cached)
  try {
    onFetch(`fetching ${kernelMetaPackage}`)
    return inCache(dir, await downloadKernel(dir, cacheDir, run, clock))
  } catch (error) {
    if (cached === undefined || isRametError(error, 'CANCELLED')) throw error
    onFetch(`no newer kernel can be had; using ${cached.version}`)
    return inCache(dir, cached)
  }
}

/** Unpacks the package and computes its module lists, as installing it would do. */
export async function unpackKernel(kernel: KernelPackage, dir: string, run: RunCommand): Promise<void> {
  await run('dpkg-deb', ['-x', kernel.debPath, dir])
  await run('depmod', ['-b', dir, '-F', join(dir, 'boot', `System.map-${kernel.release}`), kernel.release])
}

function inCache(dir: string, entry: CacheEntry): KernelPackage {
  return { release: entry.release, version: entry.version, debPath: join(dir, entry.file) }
}

async function readCache(dir: string): Promise<CacheEntry | undefined> {
  try {
    const entry = cacheSchema.parse(JSON.parse(await readFile(join(dir, 'kernel.json'), 'utf8')))
    return (await digestOfFile(join(dir, entry.file))) === entry.sha256 ? entry : undefined
  } catch {
    return undefined
  }
}

async function downloadKernel(dir: string, cacheDir: string, run: RunCommand, clock: Clock): Promise<CacheEntry> {
  let options: string[] = []
  let found = parseMetaPackage(await run('apt-cache', ['show', '--no-all-versions', kernelMetaPackage]).catch(() => ''))
  const work = join(dir, 'download')
  await rm(work, { recursive: true, force: true })
  await mkdir(work)
  await giveToSandbox(work)
  const download = (name: string) => run('apt-get', [...options, 'download', name], { cwd: work })
  const fetched = found !== undefined && (await download(found.image).then(() => true, rethrowCancelled))
  if (!fetched) {
    // The host knows no such package, or knows an old one that its mirror has dropped: ask with lists of our own.
    options = await privateApt(join(cacheDir, 'apt'), run)
    found = parseMetaPackage(await run('apt-cache', [...options, 'show', '--no-all-versions', kernelMetaPackage]))
    if (found === undefined) throw new RametError('IMAGE_BUILD_FAILED', { message: `no package ${kernelMetaPackage}` })
    await download(found.image)
  }
  const file = (await readdir(work)).find((name) => name.endsWith('.deb'))
  if (found === undefined || file === undefined) {
    throw new RametError('IMAGE_BUILD_FAILED', { message: `apt-get left no package of ${kernelMetaPackage}` })
  }
  await rename(join(work, file), join(dir, file))
  await rm(work, { recursive: true, force: true })
  const entry: CacheEntry = {
    file,
    sha256: await digestOfFile(join(dir, file)),
    release: found.image.replace(/^linux-image-/, ''),
    version: found.version,
    resolvedAtMs: clock.nowMs(),
  }
  await writeFile(join(dir, 'kernel.json.new'), JSON.stringify(entry))
  await rename(join(dir, 'kernel.json.new'), join(dir, 'kernel.json'))
  for (const name of await readdir(dir)) if (name.endsWith('.deb') && name !== file) await rm(join(dir, name))
  return entry
}

/** @param text what `apt-cache show` prints for the meta package */
export function parseMetaPackage(text: string): { image: string; version: string } | undefined {
  const image = /^Depends:.*?\b(linux-image-\d[a-z0-9.+-]*)/m.exec(text)?.[1]
  const version = /^Version:\s*(\S+)/m.exec(text)?.[1]
  return image === undefined || version === undefined ? undefined : { image, version }
}

function rethrowCancelled(error: unknown): false {
  if (isRametError(error, 'CANCELLED')) throw error
  return false
}
