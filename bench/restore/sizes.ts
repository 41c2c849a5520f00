import { randomFillSync } from 'node:crypto'
import { join } from 'node:path'
import { physicalOrder, writeCheckpoint } from '../../src/checkpoint/file/write.ts'
import { pageBytes } from '../../src/memory/base.ts'
import type { Moment } from './moment.ts'
import type { Site } from './site.ts'

/** How large a checkpoint is. */
export interface SizeFigure {
  what: string
  storedBytes: number
  /** guest memory that is not zeros */
  memoryBytes: number
  /** of these, what it may take at most, 0 to 1 */
  target: number
}

const textTarget = 0.45
const randomTarget = 1.02
const randomMemoryBytes = 64 * 1024 * 1024

export function sizeOf({ kind, checkpoint }: Moment): SizeFigure {
  const { fileBytes, residentBytes } = checkpoint
  return { what: `${kind} guest`, storedBytes: fileBytes, memoryBytes: residentBytes, target: textTarget }
}

/** A checkpoint of memory that does not compress: devices and firmware of a real guest, each page random. */
export async function sizeOfRandom(site: Site, { devices, roms }: Moment): Promise<SizeFigure> {
  const pageCount = randomMemoryBytes / pageBytes
  const { fileBytes } = await writeCheckpoint(join(site.dir, 'random.ckpt'), {
    machine: { ...site.machine, memoryBytes: randomMemoryBytes, memoryMaxBytes: randomMemoryBytes },
    cpuFeatures: [],
    qemuVersion: site.qemuVersion,
    createdAt: new Date(),
    ramBlocks: devices.blocks.map((block) =>
      block.usedBytes === site.machine.memoryBytes ? { ...block, usedBytes: randomMemoryBytes } : block,
    ),
    deviceState: devices.blob,
    roms,
    order: { kind: 'physical', reason: 'random memory has no order', pages: physicalOrder(pageCount) },
    pages: {
      read: (_page, into) => {
        randomFillSync(into)
        return 'data'
      },
    },
  })
  return { what: 'random memory', storedBytes: fileBytes, memoryBytes: randomMemoryBytes, target: randomTarget }
}
