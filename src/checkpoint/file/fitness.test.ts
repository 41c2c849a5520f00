import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isRametError } from '../../shared/errors.ts'
import { findDifferences, type HostFeatures, requireFit } from './fitness.ts'
import type { Manifest } from './manifest.ts'
import { sampleManifest } from './testing/sample-manifest.ts'

const manifest = sampleManifest()
const host: HostFeatures = {
  rametVersion: '0.1.0',
  qemuVersion: '7.2.22',
  machineTypes: ['pc-q35-7.1', 'pc-q35-7.2'],
  accelerators: ['kvm', 'tcg'],
  cpuFeatures: ['avx2', 'fpu', 'lm'],
  bases: [{ id: 'base-7', digest: 'd'.repeat(64) }],
}

const withMachine = (change: Partial<Manifest['machine']>): Manifest => ({
  ...manifest,
  machine: { ...manifest.machine, ...change },
})

test('a checkpoint fits the host it was made on', () => {
  assert.deepEqual(findDifferences(manifest, host), [])
  requireFit(manifest, host, 'snap')
})

function withoutFeatures({ cpuFeatures: _, ...features }: HostFeatures): HostFeatures {
  return features
}

const fits: Record<string, [Manifest, HostFeatures]> = {
  'a newer Ramet': [manifest, { ...host, rametVersion: '1.0.0' }],
  'a newer QEMU': [manifest, { ...host, qemuVersion: '10.0.2' }],
  'another patch of QEMU': [manifest, { ...host, qemuVersion: '7.2.3' }],
  'more features than a named model needs': [
    withMachine({ cpuModel: 'Skylake-Server' }),
    { ...host, cpuFeatures: [...manifest.cpuFeatures, 'avx512f'] },
  ],
  'a processor that was not asked for its features': [
    { ...manifest, cpuFeatures: [] },
    { ...host, cpuFeatures: [] },
  ],
  'a host whose processor is not known yet': [manifest, withoutFeatures(host)],
  'no base, when no page is of it': [
    { ...manifest, counts: { ...manifest.counts, base: 0, stored: 6_384 } },
    { ...host, bases: [] },
  ],
}

for (const [name, [needs, has]] of Object.entries(fits))
  test(`a checkpoint fits ${name}`, () => {
    assert.deepEqual(findDifferences(needs, has), [])
  })

const unfit: Record<string, [string, RegExp, Manifest, HostFeatures]> = {
  'an older Ramet': ['ramet version', /0\.0\.9/, manifest, { ...host, rametVersion: '0.0.9' }],
  'an older QEMU': ['qemu version', /7\.1\.5/, manifest, { ...host, qemuVersion: '7.1.5' }],
  'a QEMU without its machine type': [
    'machine type',
    /pc-q35-8\.0/,
    manifest,
    { ...host, machineTypes: ['pc-q35-8.0'] },
  ],
  'a host without KVM': ['accelerator', /tcg/, manifest, { ...host, accelerators: ['tcg'] }],
  'a host without emulation': [
    'accelerator',
    /kvm/,
    withMachine({ accelerator: 'tcg' }),
    { ...host, accelerators: ['kvm'] },
  ],
  'a lesser processor': ['cpu features', /without avx2/, manifest, { ...host, cpuFeatures: ['fpu', 'lm'] }],
  'a lesser processor under a named model': [
    'cpu features',
    /without avx2/,
    withMachine({ cpuModel: 'Haswell' }),
    { ...host, cpuFeatures: ['fpu', 'lm'] },
  ],
  'a greater processor under the host model': [
    'cpu features',
    /also has avx512f/,
    manifest,
    { ...host, cpuFeatures: [...manifest.cpuFeatures, 'avx512f'] },
  ],
  'a greater processor under a host model with flags': [
    'cpu features',
    /also has avx512f/,
    withMachine({ cpuModel: 'max,-svm' }),
    { ...host, cpuFeatures: [...manifest.cpuFeatures, 'avx512f'] },
  ],
  'a host without its base': ['base', /none of that id/, manifest, { ...host, bases: [] }],
  'a host with another base of that id': [
    'base',
    /another one/,
    manifest,
    { ...host, bases: [{ id: 'base-7', digest: 'e'.repeat(64) }] },
  ],
}

for (const [name, [feature, found, needs, has]] of Object.entries(unfit))
  test(`a checkpoint does not fit ${name}`, () => {
    const differences = findDifferences(needs, has)
    assert.deepEqual(
      differences.map((difference) => difference.feature),
      [feature],
    )
    assert.match(differences[0]?.found ?? '', found)
    assert.ok((differences[0]?.remedy.length ?? 0) > 10)
  })

test('all differences are told at once, each with its remedy', () => {
  const other: HostFeatures = {
    rametVersion: '0.0.1',
    qemuVersion: '6.0.0',
    machineTypes: [],
    accelerators: ['tcg'],
    cpuFeatures: [],
    bases: [],
  }
  assert.throws(
    () => requireFit(manifest, other, 'snap'),
    (error) => {
      assert.ok(isRametError(error, 'CHECKPOINT_UNFIT'))
      for (const word of ['snap', 'ramet version', 'qemu version', 'machine type', 'accelerator', 'avx2', 'base-7'])
        assert.ok(error.message.includes(word), `${word} in: ${error.message}`)
      assert.match(error.remediation, /Install QEMU 7\.2 or newer/)
      assert.equal((error.details.differences as unknown[]).length, 6)
      return true
    },
  )
})
