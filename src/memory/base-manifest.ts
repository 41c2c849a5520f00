/** The JSON that stands beside a stored base and tells what its raw file must hold. */
import { hash } from 'node:crypto'
import { RametError } from '../shared/errors.ts'

/** Unit of checksums: 1 MiB, the last block may be shorter. */
export const blockBytes = 1024 * 1024

export interface BaseManifest {
  /** always `ramet-base` */
  format: 'ramet-base'
  /** of this format; rises when an older Ramet could not read it */
  version: 1
  /** id the base was stored under; memory files are named after it */
  id: string
  /** size of the guest RAM and of the raw file */
  sizeBytes: number
  /** bytes of the blocks listed */
  dataBytes: number
  /** index of each block that is not all zeros, with the SHA-256 of its bytes in hex, ascending */
  blocks: [index: number, sha256: string][]
}

/**
 * Reads a manifest.
 *
 * @param file named in the error
 * @throws RametError `BASE_DAMAGED`
 */
export function parseManifest(text: string, file: string): BaseManifest {
  const damaged = (why: string) => new RametError('BASE_DAMAGED', { message: `${file} ${why}`, details: { file } })
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw damaged('is not JSON')
  }
  if (!isManifest(value)) throw damaged('is not the manifest of a memory base')
  const last = Math.ceil(value.sizeBytes / blockBytes) - 1
  let before = -1
  for (const [index] of value.blocks) {
    if (index <= before || index > last) throw damaged('lists blocks out of order or beyond the end')
    before = index
  }
  const listed = value.blocks.reduce((sum, [index]) => sum + blockLength(index, value.sizeBytes), 0)
  if (listed !== value.dataBytes) throw damaged(`lists ${listed} bytes of blocks instead of ${value.dataBytes}`)
  return value
}

/** Checksum of a block, as the manifest has it. */
export function blockDigest(block: Uint8Array): string {
  return hash('sha256', block, 'hex')
}

/**
 * SHA-256 in hex that stands for the content of a stored base, whatever it is called: of its size and the checksums of its
 * blocks, a line each.
 */
export function contentDigest({ sizeBytes, blocks }: BaseManifest): string {
  const lines = blocks.map(([index, digest]) => `${index} ${digest}`)
  return hash('sha256', `${[`size ${sizeBytes}`, ...lines].join('\n')}\n`, 'hex')
}

/** Bytes of a block: the last one of a base may be shorter. */
export function blockLength(index: number, sizeBytes: number): number {
  return Math.min(blockBytes, sizeBytes - index * blockBytes)
}

function isManifest(value: unknown): value is BaseManifest {
  if (typeof value !== 'object' || value === null) return false
  const { format, version, id, sizeBytes, dataBytes, blocks } = value as Partial<Record<keyof BaseManifest, unknown>>
  if (format !== 'ramet-base' || version !== 1 || typeof id !== 'string') return false
  if (!isSize(sizeBytes) || !isSize(dataBytes) || sizeBytes % 4096 !== 0) return false
  return Array.isArray(blocks) && blocks.every(isBlock)
}

function isBlock(block: unknown): boolean {
  return Array.isArray(block) && isSize(block[0]) && typeof block[1] === 'string' && /^[0-9a-f]{64}$/.test(block[1])
}

function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0
}
