import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isRametError } from '../../shared/errors.ts'
import { parseManifest } from './manifest.ts'
import { sampleManifest } from './testing/sample-manifest.ts'

const parse = (value: unknown) => parseManifest(Buffer.from(JSON.stringify(value)), 'a.checkpoint')

test('a manifest is read as it was written, and what a later Ramet adds is left aside', () => {
  const manifest = sampleManifest()
  assert.deepEqual(parse({ ...manifest, weather: 'fair' }), manifest)
  const { cpuModel: _, ...machine } = manifest.machine
  assert.deepEqual(parse({ ...manifest, machine }).machine, machine)
})

const manifest = sampleManifest()
const [memory] = manifest.ramBlocks
const wrongs: Record<string, unknown> = {
  nothing: null,
  'another format': { ...manifest, format: 'ramet-base' },
  'no machine': { ...manifest, machine: undefined },
  'properties of its cpu': { ...manifest, machine: { ...manifest.machine, cpuModel: 'max,-smep' } },
  'no name of a cpu model': { ...manifest, machine: { ...manifest.machine, cpuModel: 'max -incoming' } },
  'an unknown order': { ...manifest, order: { kind: 'random', reason: '' } },
  'other pages': { ...manifest, pageBytes: 16_384 },
  'no RAM': { ...manifest, ramBlocks: [] },
  'two RAMs': { ...manifest, ramBlocks: [memory, { ...memory, name: 'mem2' }] },
  'a block twice': { ...manifest, ramBlocks: [memory, memory] },
  'RAM of another size': { ...manifest, machine: { ...manifest.machine, memoryBytes: 4096 } },
  'half a page': { ...manifest, ramBlocks: [memory, { name: 'rom', usedBytes: 2048, content: 'rom' }] },
  'giant ROMs': { ...manifest, ramBlocks: [memory, { name: 'rom', usedBytes: 2 ** 30, content: 'rom' }] },
  'uneven counts': { ...manifest, counts: { ...manifest.counts, zero: 1 } },
  'pages of no base': { ...manifest, base: null },
  'a fraction': { ...manifest, counts: { ...manifest.counts, blocks: 0.5 } },
}

for (const [name, wrong] of Object.entries(wrongs))
  test(`a manifest with ${name} is refused`, () => {
    assert.throws(
      () => parse(wrong),
      (error) => isRametError(error, 'CHECKPOINT_DAMAGED') && error.details.part === 'manifest',
    )
  })

test('what is no JSON is refused', () => {
  for (const text of ['', '{', '\xff\xfe'])
    assert.throws(() => parseManifest(Buffer.from(text, 'latin1'), 'a'), { code: 'CHECKPOINT_DAMAGED' })
})
