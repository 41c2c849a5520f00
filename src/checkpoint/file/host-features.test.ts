import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findQemu } from '../../host/qemu-binary.ts'
import { readCpuFeatures } from '../../qemu/cpu-features.ts'
import { GuestFixture } from '../../qemu/testing/guest-fixture.ts'
import { rametVersion } from '../../shared/version.ts'
import { findDifferences } from './fitness.ts'
import { offeredFeatures } from './host-features.ts'
import type { Manifest } from './manifest.ts'
import { sampleManifest } from './testing/sample-manifest.ts'

test('a checkpoint fits the host that it was made on, and not a processor that lacks something', async () => {
  const qemu = await findQemu()
  assert.ok(qemu !== undefined)
  await using fixture = new GuestFixture()
  const maker = await fixture.start()
  const sample = sampleManifest()
  const manifest: Manifest = {
    ...sample,
    rametVersion,
    qemuVersion: qemu.version,
    machine: fixture.machine,
    cpuFeatures: await readCpuFeatures(maker.qmp, fixture.machine),
  }
  const offered = offeredFeatures(qemu, 'tcg', [sample.base ?? { id: '', digest: '' }])
  assert.deepEqual(findDifferences(manifest, offered), [], 'before any QEMU runs')
  const waiting = await fixture.start(fixture.seat({ incoming: true }))
  assert.deepEqual(
    findDifferences(manifest, { ...offered, cpuFeatures: await readCpuFeatures(waiting.qmp, fixture.machine) }),
    [],
  )

  await using lesser = new GuestFixture(1, { cpuModel: 'max,-avx2,-aes' })
  const other = await lesser.start(lesser.seat({ incoming: true }))
  const [difference] = findDifferences(manifest, {
    ...offered,
    cpuFeatures: await readCpuFeatures(other.qmp, lesser.machine),
  })
  assert.deepEqual([difference?.feature, difference?.found], ['cpu features', 'a processor without aes, avx2'])
})

test('a host with KVM can emulate too', () => {
  const qemu = { version: '7.2.22', machines: ['pc-q35-7.2'] }
  assert.deepEqual(offeredFeatures(qemu, 'kvm', []).accelerators, ['kvm', 'tcg'])
  const { machine, ...rest } = sampleManifest()
  const elsewhere = { ...rest, machine: { ...machine, machine: 'pc-q35-9.0' } }
  const found = findDifferences(elsewhere, offeredFeatures(qemu, 'tcg', []))
  assert.deepEqual(
    found.map(({ feature }) => feature),
    ['machine type', 'accelerator', 'base'],
  )
})
