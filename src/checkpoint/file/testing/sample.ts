import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pageBytes } from '../../../memory/base.ts'
import type { PageMap } from '../../../memory/page-tables/page-map.ts'
import { PageMapBuilder } from '../../../memory/page-tables/page-map-builder.ts'
import type { RangeSource } from '../range-source.ts'
import type { CheckpointParts } from '../write.ts'

// Small guests in memory, for the tests of this room.

/** Numbers from a seed, the same on every host (xorshift). */
export function randomOf(seed: number): (below: number) => number {
  let state = (seed * 2654435761 + 88675123) >>> 0 || 1
  return (below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

export function fillRandom(bytes: Buffer, random: (below: number) => number): void {
  for (let at = 0; at < bytes.length; at += 1) bytes[at] = random(256)
}

/** Words, as a heap of text has them. */
export function fillText(bytes: Buffer, random: (below: number) => number): void {
  const words = ['memory', 'page', 'checkpoint', 'restore', 'a', 'guest', 'of', 'neighbour', '\0\0\0\0']
  let text = ''
  while (text.length < bytes.length) text += `${words[random(words.length)]} ${random(1000)} `
  bytes.write(text.slice(0, bytes.length), 'latin1')
}

export interface SampleGuest {
  readonly memory: Buffer
  /** what each page is said to be */
  readonly kinds: readonly ('data' | 'zero' | 'base')[]
  readonly parts: CheckpointParts
}

export interface SampleOptions {
  readonly pageCount?: number
  readonly seed?: number
  readonly base?: boolean
}

/** A guest with text, noise, zeros and pages of a base, in shuffled order. */
export function sampleGuest(options: SampleOptions = {}): SampleGuest {
  const { pageCount = 100, seed = 1, base = true } = options
  const random = randomOf(seed)
  const memory = Buffer.alloc(pageCount * pageBytes)
  const kinds: ('data' | 'zero' | 'base')[] = []
  for (let page = 0; page < pageCount; page += 1) {
    const kind = (['text', 'text', 'noise', 'zero', 'base'] as const)[random(base ? 5 : 4)] ?? 'zero'
    const bytes = memory.subarray(page * pageBytes, (page + 1) * pageBytes)
    if (kind === 'text') fillText(bytes, random)
    if (kind === 'noise' || kind === 'base') fillRandom(bytes, random)
    kinds.push(kind === 'zero' || kind === 'base' ? kind : 'data')
  }
  const pages = {
    read: (page: number, into: Buffer) => {
      const kind = kinds[page] ?? 'data'
      // Not to be taken over where the answer is another.
      if (kind === 'data') memory.copy(into, 0, page * pageBytes, (page + 1) * pageBytes)
      else into.fill(0xee)
      return kind
    },
  }
  const rom = Buffer.alloc(2 * pageBytes)
  fillText(rom, random)
  const parts: CheckpointParts = {
    machine: {
      machine: 'pc-q35-7.2',
      accelerator: 'tcg',
      cpuModel: 'qemu64',
      cpuCount: 1,
      cpuMaxCount: 4,
      memoryBytes: memory.length,
      memorySlotCount: 0,
      memoryMaxBytes: memory.length,
      diskCount: 1,
      nicCount: 1,
      sparePortCount: 4,
    },
    cpuFeatures: ['sse2', 'fpu', 'lm'],
    qemuVersion: '7.2.22',
    createdAt: new Date(1_700_000_000_000),
    ramBlocks: [
      { name: 'mem', usedBytes: memory.length },
      { name: 'pc.bios', usedBytes: rom.length },
      { name: '/rom@etc/acpi/tables', usedBytes: 32 * pageBytes },
    ],
    deviceState: Buffer.from('devices '.repeat(1000)),
    roms: [{ block: 'pc.bios', offsetBytes: 0, data: rom }],
    order: { kind: 'virtual', reason: 'page tables of 3 processes were found', pages: shuffled(pageCount, random) },
    locality: sampleLocality(pageCount, random),
    pages,
    ...(base ? { base: { id: 'base-1', digest: 'b'.repeat(64) } } : {}),
  }
  return { memory, kinds, parts }
}

/** Some processes that see pages of a guest at random, in stretches. */
export function sampleLocality(pageCount: number, random: (below: number) => number): PageMap {
  const builder = new PageMapBuilder(pageCount, 4 * pageCount)
  for (let space = 1 + random(4); space > 0; space -= 1) {
    builder.beginSpace()
    let virtualPage = random(2 ** 31) * 2 ** 12
    for (let stretch = 1 + random(6); stretch > 0; stretch -= 1) {
      for (let length = 1 + random(5); length > 0; length -= 1) {
        builder.add(virtualPage, random(pageCount), 1)
        virtualPage += 1
      }
      virtualPage += 1 + random(1000)
    }
  }
  return builder.build()
}

function shuffled(count: number, random: (below: number) => number): Uint32Array {
  const order = Uint32Array.from({ length: count }, (_, index) => index)
  for (let index = count - 1; index > 0; index -= 1) {
    const other = random(index + 1)
    const page = order[index] ?? 0
    order[index] = order[other] ?? 0
    order[other] = page
  }
  return order
}

/** A file that is all in memory. */
export function bufferSource(bytes: Buffer, sizeBytes: number | undefined = bytes.length): RangeSource {
  return {
    name: 'a.checkpoint',
    sizeBytes,
    readRange: async (offset, length) => Buffer.from(bytes.subarray(offset, offset + length)),
  }
}

/** Runs `work` in an empty directory, which is gone after it. */
export async function withDirectory<T>(work: (directory: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), 'ramet-checkpoint-'))
  try {
    return await work(directory)
  } finally {
    await rm(directory, { recursive: true })
  }
}
