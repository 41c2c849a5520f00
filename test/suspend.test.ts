import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { RametApiError, type Vm } from '../src/client/index.ts'
import { count, startCounter } from './support/counter.ts'
import { Host } from './support/host.ts'

const rounds = 20
const MiB = 1024 * 1024

/** What is in its memory alone, on its disk as its cache has it, and on its disk as the host has it. */
async function sumsOf(vm: Vm): Promise<string> {
  const { stdout } = await vm.commands.run(
    'md5sum < /tmp/ballast; md5sum < /dev/vda; echo 1 > /proc/sys/vm/drop_caches; md5sum < /dev/vda',
  )
  return stdout
}

const write = (vm: Vm, round: number) =>
  vm.commands.run(
    `dd if=/dev/urandom of=/tmp/ballast bs=64k seek=${(round * 37) % 200} count=40 conv=notrunc 2>/dev/null
     dd if=/dev/urandom of=/dev/vda bs=64k seek=${(round * 53) % 200} count=20 conv=notrunc 2>/dev/null`,
  )

const identityOf = async (vm: Vm) =>
  (await vm.commands.run('hostname; cat /etc/machine-id; cat /sys/class/net/eth0/address; ip -o -4 addr show eth0'))
    .stdout

describe('a vm that is paused to disk', () => {
  let host: Host
  let vm: Vm

  before(async () => {
    host = await Host.start()
    vm = await host.boot({ name: 'sleeper', memoryBytes: 128 * MiB, disks: [{ sizeBytes: 16 * MiB }] })
    await startCounter(vm)
  })
  after(() => host.close())

  const suspendedFiles = () => readdir(join(host.dataDir, 'suspended'))
  const untilWhole = () => host.until('its memory has come', async () => (await vm.refresh()).restore?.state === 'done')

  it('takes no process and no memory, and says what it takes on disk', async () => {
    const { pid } = await vm.refresh()
    assert.ok(pid !== undefined)
    await vm.pause({ toDisk: true })
    assert.equal(vm.state, 'suspended')
    assert.ok(!existsSync(`/proc/${pid}`), 'its QEMU has ended')
    const { suspendedBytes, pid: none } = await vm.refresh()
    assert.equal(none, undefined)
    assert.ok(suspendedBytes !== undefined && suspendedBytes > MiB)
    assert.deepEqual(await suspendedFiles(), [vm.id])
    await vm.resume()
    assert.equal(vm.state, 'running')
    await untilWhole()
    await host.until('its checkpoint is removed', async () => (await suspendedFiles()).length === 0)
    assert.equal((await vm.refresh()).suspendedBytes, undefined)
  })

  it(`loses nothing in ${rounds} rounds, whether or not its memory had come back`, async () => {
    const identity = await identityOf(vm)
    for (let round = 0; round < rounds; round += 1) {
      await write(vm, round)
      const expected = await sumsOf(vm)
      assert.equal(await count(vm, `round-${round}`), `${round + 1} round-${round}`)
      await vm.pause({ toDisk: true })
      await vm.resume()
      // In every other round the next pause comes as early as can be.
      if (round % 2 === 0) await untilWhole()
      assert.equal(await sumsOf(vm), expected, `round ${round}`)
    }
    assert.equal(await identityOf(vm), identity)
    assert.equal(await count(vm, 'last'), `${rounds + 1} last`)
  })

  it('knows what time it is, and draws other numbers than before', async () => {
    const draw = async () => (await vm.commands.run('head -c 32 /dev/urandom | md5sum')).stdout
    const before = await draw()
    await vm.pause({ toDisk: true })
    await vm.resume()
    const { stdout } = await vm.commands.run('date +%s')
    assert.ok(Math.abs(Number(stdout) - Date.now() / 1000) <= 2, `the guest says ${stdout}`)
    assert.notEqual(await draw(), before)
  })

  it('reboots after that, and finds its ACPI tables', async () => {
    await vm.commands.run('reboot -f').catch(() => {})
    await host.until('it has booted', async () => {
      const { stdout } = await vm.commands.run('ls /tmp').catch(() => ({ stdout: 'ballast' }))
      return !stdout.includes('ballast')
    })
    const { stdout } = await vm.commands.run('dmesg | grep -c "ACPI: .* BOCHS"')
    assert.ok(Number(stdout) >= 5, `${stdout} tables`)
    await write(vm, 0)
  })

  it('can be paused first and put on disk then, and goes on from there', async () => {
    const expected = await sumsOf(vm)
    await vm.pause()
    await vm.pause({ toDisk: true })
    await vm.resume()
    assert.equal(await sumsOf(vm), expected)
  })

  it('lets go of an attached command, says so, and has it go on afterwards', async () => {
    const attached = host.cli(['exec', 'sleeper', 'sh', '-c', 'echo seen; touch /tmp/begun; sleep 600'])
    await vm.commands.run('until [ -e /tmp/begun ]; do sleep 0.1; done')
    await vm.pause({ toDisk: true })
    const { code, stdout, stderr } = await attached
    assert.deepEqual([code, stdout], [4, 'seen\n'])
    assert.match(stderr, /sleeper was paused to disk, and so was the command .*\n {2}remedy: Resume it, `ramet resume/)
    await vm.resume()
    const [command] = (await vm.commands.list()).filter(({ argv }) => argv.at(-1)?.includes('/tmp/begun'))
    assert.equal(command?.state, 'running')
    await vm.commands.kill(command.execId)
  })

  it('is neither started nor stopped, and both say what to do', async () => {
    await vm.pause({ toDisk: true })
    const refused = (error: unknown) =>
      error instanceof RametApiError &&
      error.code === 'ILLEGAL_STATE' &&
      /ramet resume sleeper/.test(error.remediation ?? '')
    await assert.rejects(vm.start(), refused)
    await assert.rejects(vm.stop(), refused)
    await assert.rejects(vm.commands.run('true'), refused)
    await vm.resume()
  })

  it('outlives the daemon while it is on disk', async () => {
    const expected = await sumsOf(vm)
    await vm.pause({ toDisk: true })
    await host.kill9()
    await host.restart()
    assert.equal((await vm.refresh()).state, 'suspended')
    await vm.resume()
    assert.equal(await sumsOf(vm), expected)
  })

  it('runs on when the disk is full, with everything that it had', async () => {
    for (const point of ['checkpoint.block', 'checkpoint.sections']) {
      const expected = await sumsOf(vm)
      await host.restart(`${point}=ENOSPC`)
      await assert.rejects(vm.pause({ toDisk: true }), { code: 'NO_SPACE' })
      assert.equal((await vm.refresh()).state, 'running')
      assert.deepEqual(await suspendedFiles(), [])
      assert.equal(await sumsOf(vm), expected)
    }
    await host.restart()
  })

  it('runs on when its pause is cancelled', async () => {
    const expected = await sumsOf(vm)
    const cancel = new AbortController()
    const pausing = vm.pause({
      toDisk: true,
      signal: cancel.signal,
      onProgress: ({ stage }) => {
        if (stage === 'storing') cancel.abort()
      },
    })
    await assert.rejects(pausing)
    await host.until('it runs', async () => (await vm.refresh()).state === 'running')
    assert.equal(await sumsOf(vm), expected)
  })

  it('is ended for good by kill, which keeps its disk, and by rm, which keeps nothing', async () => {
    await vm.commands.run('echo kept | dd of=/dev/vda bs=512 conv=sync 2>/dev/null; sync')
    await vm.pause({ toDisk: true })
    await vm.kill()
    assert.equal(vm.state, 'stopped')
    assert.deepEqual(await suspendedFiles(), [])
    await vm.start()
    assert.equal((await vm.commands.run('head -c 4 /dev/vda')).stdout, 'kept')
    await vm.pause({ toDisk: true })
    await vm.remove()
    assert.deepEqual(await suspendedFiles(), [])
  })
})
