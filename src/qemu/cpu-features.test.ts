import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { isRametError } from '../shared/errors.ts'
import { parseCpuFeatures, readCpuFeatures } from './cpu-features.ts'
import type { QemuProcess } from './process.ts'
import { GuestFixture } from './testing/guest-fixture.ts'

/** Whether the processor that the guest really has is said by QEMU to have a feature. */
async function hasFeature(qemu: QemuProcess, property: string): Promise<unknown> {
  const [cpu] = await qemu.qmp.execute<{ 'qom-path': string }[]>('query-cpus-fast')
  return qemu.qmp.execute('qom-get', { path: cpu?.['qom-path'], property })
}

for (const cpuModel of [undefined, 'qemu64', 'max,-avx2,-la57', 'Haswell-noTSX']) {
  test(`the features of ${cpuModel ?? 'the default model'} are those of the processor itself`, async () => {
    await using fixture = new GuestFixture(1, cpuModel === undefined ? {} : { cpuModel })
    const qemu = await fixture.start()
    const features = await readCpuFeatures(qemu.qmp, fixture.machine)
    assert.ok(features.length > 20, `${features.length} features`)
    assert.deepEqual(features, [...new Set(features)].sort())
    for (const name of features) assert.equal(await hasFeature(qemu, name), true, name)
    for (const name of ['lm', 'avx2', 'la57', 'sse2', 'svm', 'avx512f', 'pcid', 'nx', 'aes'])
      assert.equal(features.includes(name), await hasFeature(qemu, name), name)
  })
}

test('they are the same while the guest runs, and in a QEMU that waits for a state', async () => {
  await using fixture = new GuestFixture()
  const qemu = await fixture.start()
  const before = await readCpuFeatures(qemu.qmp, fixture.machine)
  await qemu.qmp.execute('cont')
  assert.deepEqual(await readCpuFeatures(qemu.qmp, fixture.machine), before)
  assert.equal(await qemu.runState(), 'running')
  const waiting = await fixture.start(fixture.seat({ incoming: true }))
  assert.equal(await waiting.runState(), 'inmigrate')
  assert.deepEqual(await readCpuFeatures(waiting.qmp, fixture.machine), before)
})

const answerWith = (props: unknown) => ({ model: { name: 'base', props } })

test('what is off, and what is no feature, is left out', () => {
  const props = {
    sse2: true,
    avx2: true,
    mpx: false,
    family: 15,
    vendor: 'AuthenticAMD',
    'sse4.2': true,
    '3dnow': true,
  }
  assert.deepEqual(parseCpuFeatures(answerWith(props), ['avx2', 'vmx']), ['3dnow', 'sse2', 'sse4.2'])
})

const many = Object.fromEntries(Array.from({ length: 2000 }, (_, index) => [`f${index}`, true]))
const strange: unknown[] = [
  undefined,
  null,
  'model',
  {},
  { model: 7 },
  answerWith(undefined),
  answerWith([true]),
  answerWith({}),
  answerWith({ sse2: 'true' }),
  answerWith({ 'a b': true }),
  answerWith({ [`${'x'.repeat(65)}`]: true }),
  answerWith({ '\u001b[2J': true }),
  answerWith(many),
]

for (const [index, answer] of strange.entries())
  test(`an answer that is none is refused: ${index}`, () => {
    assert.throws(() => parseCpuFeatures(answer, []), { code: 'QMP_FAILED' })
  })

test('an answer that does not tell what is missing is refused', () => {
  for (const missing of [undefined, null, 'avx2', { avx2: true }])
    assert.throws(() => parseCpuFeatures(answerWith({ sse2: true }), missing), { code: 'QMP_FAILED' })
})

test('whatever is answered, the result is names or a refusal', () => {
  const value = fc.oneof(
    fc.anything(),
    fc.anything().map(answerWith),
    fc.dictionary(fc.string(), fc.anything()).map(answerWith),
  )
  fc.assert(
    fc.property(value, fc.array(fc.anything()), (answer, missing) => {
      try {
        assert.ok(parseCpuFeatures(answer, missing).every((name) => /^[\w.-]{1,64}$/.test(name)))
      } catch (error) {
        assert.ok(isRametError(error, 'QMP_FAILED'), String(error))
      }
    }),
  )
})
