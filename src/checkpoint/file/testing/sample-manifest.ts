import type { Manifest } from '../manifest.ts'

/** A manifest of a guest of 64 MiB over a base. */
export function sampleManifest(): Manifest {
  const memoryBytes = 64 * 1024 * 1024
  return {
    format: 'ramet-checkpoint',
    createdAt: '2026-01-02T03:04:05.000Z',
    rametVersion: '0.1.0',
    qemuVersion: '7.2.22',
    machine: {
      machine: 'pc-q35-7.2',
      accelerator: 'kvm',
      cpuModel: 'host',
      cpuCount: 2,
      cpuMaxCount: 8,
      memoryBytes,
      memorySlotCount: 0,
      memoryMaxBytes: memoryBytes,
      diskCount: 1,
      nicCount: 1,
      sparePortCount: 4,
    },
    cpuFeatures: ['avx2', 'fpu', 'lm'],
    pageBytes: 4096,
    ramBlocks: [{ name: 'mem', usedBytes: memoryBytes, content: 'pages' }],
    order: { kind: 'physical', reason: 'the guest is not Linux' },
    base: { id: 'base-7', digest: 'd'.repeat(64) },
    counts: { pages: 16_384, zero: 10_000, base: 4_384, stored: 2_000, blocks: 63, storedBytes: 3_000_000 },
  }
}
