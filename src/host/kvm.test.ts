import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { acceleratorFinding, chooseAccelerator, kvmGroup, runProbeGuest } from './kvm.ts'
import { probeFirmware } from './probe-firmware.ts'

function cacheFile(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'ramet-kvm-'))
  t.after(() => rmSync(directory, { recursive: true }))
  return join(directory, 'accelerator.json')
}

test('the probe guest runs to its end under TCG, so a failure under KVM is one of KVM', async () => {
  assert.equal(probeFirmware().length, 65536)
  assert.equal(await runProbeGuest('tcg', 'qemu-system-x86_64'), undefined)
  assert.match((await runProbeGuest('tcg', 'no-such-qemu')) ?? '', /not installed/)
})

test('the verdict holds for one boot, an override for one call', async (t) => {
  const file = cacheFile(t)
  let runs = 0
  const options = { cacheFile: file, override: undefined, device: '/dev/null' }
  const run = (result: string | undefined) => async () => {
    runs += 1
    return result
  }
  const works = await chooseAccelerator({ ...options, run: run(undefined) })
  assert.equal(works.accelerator, 'kvm')
  assert.equal(acceleratorFinding(works).ok, true)
  assert.deepEqual(await chooseAccelerator({ ...options, run: run('no') }), works)
  assert.equal(runs, 1)
  assert.equal((await chooseAccelerator({ ...options, override: 'tcg' })).accelerator, 'tcg')
  await assert.rejects(chooseAccelerator({ ...options, override: 'hvf' }), { code: 'INVALID_ARGUMENT' })

  writeFileSync(file, readFileSync(file, 'utf8').replace(/"bootId":"[^"]*"/, '"bootId":"before"'))
  const fails = await chooseAccelerator({ ...options, run: run('it hangs') })
  assert.equal(fails.accelerator, 'tcg')
  assert.match(fails.finding, /opens, but it hangs/)
  assert.equal(acceleratorFinding(fails).level, 'slow')
  writeFileSync(file, 'garbage')
  await chooseAccelerator({ ...options, run: run(undefined) })
  assert.equal(runs, 3)
})

test('a host without the device needs no guest to know', async (t) => {
  const verdict = await chooseAccelerator({
    cacheFile: cacheFile(t),
    override: undefined,
    device: '/dev/no-such-device',
  })
  assert.equal(verdict.accelerator, 'tcg')
})

test('a device that only root may open serves no VM that runs as another user', async (t) => {
  const file = cacheFile(t)
  const device = `${file}.device`
  const ask = async (mode: number) => {
    rmSync(file, { force: true })
    chmodSync(device, mode)
    const run = async () => undefined
    return await chooseAccelerator({ cacheFile: file, override: undefined, device, separateUsers: true, run })
  }
  writeFileSync(device, '')
  assert.match((await ask(0o600)).finding, /root only/)
  assert.equal(kvmGroup(device), undefined)
  assert.equal((await ask(0o660)).accelerator, 'kvm')
  assert.equal(kvmGroup(device), process.getgid?.())
  assert.equal((await ask(0o666)).accelerator, 'kvm')
})

test('on this host the real probe ends in time and leaves no process', async (t) => {
  const started = performance.now()
  const verdict = await chooseAccelerator({ cacheFile: cacheFile(t), override: undefined })
  t.diagnostic(verdict.finding)
  assert.ok(performance.now() - started < 4000)
  const children = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim()
  assert.equal(children, '')
})
