import { dirname, resolve, sep } from 'node:path'
import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { backingName } from './backing-name.ts'
import { type DiskLayer, readLayer } from './layer.ts'

/** A disk and what it stands on, the disk itself first, the lowest base last. */
export interface DiskChain {
  readonly layers: readonly [DiskLayer, ...DiskLayer[]]
  readonly virtualBytes: number
}

/**
 * Follows a disk down to its lowest base, and checks all of it: each base is there, is the one meant,
 * can be written by nobody, and lies in a directory of bases.
 *
 * The top layer belongs to a guest's QEMU, which may have written anything into its header. Whatever
 * runs with more rights than that QEMU (qemu-img, a copy) opens a chain only after this check.
 *
 * @param baseRoots absolute directories in which bases may lie
 * @throws RametError `IMAGE_INVALID` for a top layer that is damaged or points elsewhere, `BASE_DAMAGED`
 *   for a base that is missing, exchanged, writable or damaged, `TOO_LARGE` for a chain beyond the limit
 */
export async function openChain(path: string, baseRoots: readonly string[]): Promise<DiskChain> {
  const top = await readLayer(path)
  const layers: [DiskLayer, ...DiskLayer[]] = [top]
  for (let layer = top; layer.header.backing !== undefined; ) {
    if (layers.length >= limits.diskChainCount)
      throw new RametError('TOO_LARGE', {
        message: `the disk ${path} stands on more than ${limits.diskChainCount - 1} others`,
      })
    const base = await readBase(basePath(layer, baseRoots))
    checkBase(layer, base)
    if (layers.some(({ fileKey }) => fileKey === base.fileKey))
      throw new RametError('BASE_DAMAGED', { message: `the disk ${path} stands on itself, through ${base.path}` })
    layers.push(base)
    layer = base
  }
  return { layers, virtualBytes: top.header.virtualBytes }
}

/** @throws RametError `IMAGE_INVALID` when the backing name is not the plain relative path of a base */
function basePath(layer: DiskLayer, baseRoots: readonly string[]): string {
  const { backing } = layer.header
  const name = backing?.name ?? ''
  const path = resolve(dirname(layer.path), name)
  // One way to write each path: QEMU would take “nbd:…/../x” or “json:{…}” for something else than a path.
  const isPlain = !name.includes(':') && name === backingName(layer.path, path)
  if (!isPlain || !baseRoots.some((root) => path.startsWith(resolve(root) + sep)))
    throw new RametError('IMAGE_INVALID', {
      message: `the disk ${layer.path} names “${name}” as its base, which is not one`,
      details: { path: layer.path },
    })
  if (backing?.format !== 'qcow2')
    throw new RametError('IMAGE_INVALID', {
      message: `the disk ${layer.path} does not say that its base is qcow2`,
      details: { path: layer.path },
    })
  return path
}

async function readBase(path: string): Promise<DiskLayer> {
  try {
    return await readLayer(path)
  } catch (cause) {
    throw new RametError('BASE_DAMAGED', {
      message: cause instanceof Error ? cause.message : `the base ${path} cannot be read`,
      cause,
      details: { path },
    })
  }
}

function checkBase(layer: DiskLayer, base: DiskLayer): void {
  const damaged = (message: string) => new RametError('BASE_DAMAGED', { message, details: { path: base.path } })
  if ((base.mode & 0o222) !== 0) throw damaged(`the base ${base.path} can be written to`)
  const wanted = layer.header.identity.base
  // A frozen delta between has no identity: it passes on whose base it stands on.
  const found = base.header.identity.own ?? base.header.identity.base
  if (wanted !== found)
    throw damaged(
      `the base ${base.path} is ${found ?? 'unnamed'}, but ${layer.path} was made over ${wanted ?? 'another'}`,
    )
  if (base.header.virtualBytes > layer.header.virtualBytes)
    throw damaged(`the base ${base.path} is larger than ${layer.path} over it`)
}
