import { rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { limits } from '../shared/limits.ts'
import type { DiskChain } from './chain.ts'
import { syncDirectory, temporaryName } from './files.ts'
import { readAllocation } from './layer.ts'
import { mergeLayers } from './merge.ts'
import { sealDelta, sealInPlace } from './seal.ts'
import { requireSpace } from './space.ts'

/**
 * How a vm's disk becomes what a template's children stand on:
 * - `share`: the vm wrote nothing; children stand on the first non-empty disk below, as the vm did
 * - `flatten`: everything merged into one new base; a child's depth is two
 * - `merge`: all deltas merged into one over the lowest base; a child's depth is three
 * - `seal`: the delta itself becomes a base; nothing is written, and a child's depth is three
 */
export type TemplateDiskMethod = 'share' | 'flatten' | 'merge' | 'seal'

export interface TemplateDiskPlan {
  readonly method: TemplateDiskMethod
  /** to be written on the host, at most */
  readonly writtenBytes: number
  /** files that a child's disk will stand on, itself included */
  readonly childDepth: number
}

/**
 * Chooses by what must be written. Depth stays bounded over any number of generations: a template made
 * from a child of a template flattens or merges again.
 */
export async function planTemplateDisk(
  chain: DiskChain,
  flattenMaxBytes = limits.diskFlattenBytes,
): Promise<TemplateDiskPlan> {
  const depth = chain.layers.length
  const allocations = await Promise.all(chain.layers.map((layer) => readAllocation(layer.path)))
  const sizes = allocations.map(({ dataBytes }) => dataBytes)
  const sum = (bytes: readonly number[]) => bytes.reduce((total, value) => total + value, 0)
  const [top] = allocations
  const [layer, below] = chain.layers
  const isEmpty =
    top?.dataBytes === 0 && top.zeroBytes === 0 && below?.header.virtualBytes === layer.header.virtualBytes
  if (isEmpty) return { method: 'share', writtenBytes: 0, childDepth: depth }
  if (depth === 1) return { method: 'seal', writtenBytes: 0, childDepth: 2 }
  if (sum(sizes) <= flattenMaxBytes) return { method: 'flatten', writtenBytes: sum(sizes), childDepth: 2 }
  if (depth < limits.diskRestCount) return { method: 'seal', writtenBytes: 0, childDepth: depth + 1 }
  return { method: 'merge', writtenBytes: sum(sizes.slice(0, -1)), childDepth: 3 }
}

export interface TemplateDiskRequest {
  /** the stopped vm's disk and what it stands on, as `openChain` checked it */
  readonly chain: DiskChain
  readonly plan: TemplateDiskPlan
  /** where the base is to be; not used by `share` */
  readonly to: string
  /** id for the new base */
  readonly id: string
  readonly signal?: AbortSignal | undefined
  readonly onPercent?: ((percent: number) => void) | undefined
}

/**
 * Carries a plan out. The vm's disk is moved by `seal`, and left as it is by the other methods.
 *
 * @returns the path of the base on which children stand
 * @throws RametError `NO_SPACE`, `IMAGE_INVALID`, `BASE_DAMAGED`; the signal's reason when aborted
 */
export async function makeTemplateDisk(request: TemplateDiskRequest): Promise<string> {
  const { chain, plan, to, id } = request
  const [top, below] = chain.layers
  if (plan.method === 'share') return (below ?? top).path
  if (plan.method === 'seal') {
    await sealDelta(top.path, to, id)
    return to
  }
  await requireSpace(dirname(to), plan.writtenBytes, `the merged disk ${to}`)
  const temporary = temporaryName(to)
  try {
    await mergeLayers({ ...request, target: temporary, keepLowest: plan.method === 'merge' })
    await sealInPlace(temporary, id)
    await rename(temporary, to)
    await syncDirectory(dirname(to))
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
  return to
}
