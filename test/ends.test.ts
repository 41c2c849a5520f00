import assert from 'node:assert/strict'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { after, before, describe, it } from 'node:test'
import type { Template, Vm } from '../src/client/index.ts'
import { vmmOverheadBytes } from '../src/engine/vm/limits-of-vm.ts'
import { isRoot } from './support/environment.ts'
import { Host } from './support/host.ts'

const MiB = 1024 * 1024

describe('a vm that ends by itself', () => {
  let host: Host
  let template: Template

  before(async () => {
    host = await Host.start()
    template = await host.template('seed', (vm) => vm.commands.run('echo state > /tmp/state'))
  })
  after(() => host.close())

  async function child(name: string, options: Parameters<Template['fork']>[0] = {}): Promise<Vm> {
    const [vm] = await template.forkAll({ names: [name], ...options })
    assert.ok(vm)
    return vm
  }

  it('by the death of its QEMU is failed, says so, and shows its console', async () => {
    const vm = await child('killed')
    await vm.commands.run('echo last words > /dev/console')
    // What QEMU has not handed over dies with it, so that somebody has to have looked before.
    assert.match((await host.cli(['logs', 'killed'])).stdout, /last words/)
    process.kill(vm.info.pid ?? 0, 'SIGKILL')
    await host.untilState(vm, 'failed')
    assert.equal(vm.info.failure?.reason, 'vmm-exit')
    assert.equal(vm.info.failure?.event, 'SIGKILL')
    assert.equal(vm.info.pid, undefined)
    const shown = await host.cli(['logs', 'killed'])
    assert.match(shown.stdout, /last words/)
    assert.match(vm.info.failure?.consoleLines.join('\n') ?? '', /last words/)
    await assert.rejects(vm.commands.run('true'), { code: 'ILLEGAL_STATE' })
    await vm.remove()
  })

  it('by a panic of its kernel is failed, with the panic in its console lines', async () => {
    const vm = await child('panicking')
    await vm.commands.run('echo c > /proc/sysrq-trigger', { background: true }).catch(() => {})
    await host.untilState(vm, 'failed')
    assert.equal(vm.info.failure?.reason, 'guest-panic')
    assert.match(vm.info.failure?.consoleLines.join('\n') ?? '', /Kernel panic - not syncing: sysrq triggered crash/)
    const inspected = await host.cli(['inspect', 'panicking', '-o', 'json'])
    assert.match(inspected.stdout, /guest-panic/)
    await vm.remove()
  })

  it('by the memory limit of its control group is failed as out of memory', async (t) => {
    if (!isRoot) return t.skip('only root writes control groups here')
    const limit = template.info.memoryBytes + vmmOverheadBytes
    const vm = await child('greedy', { limits: { memoryBytes: limit } })
    // Ramet refuses limits that a guest could pass, so that it is lowered behind its back.
    const file = ['memory/ramet', 'ramet']
      .flatMap((path) =>
        ['memory.limit_in_bytes', 'memory.max'].map((name) => join('/sys/fs/cgroup', path, vm.id, name)),
      )
      .find((path) => existsSync(path))
    if (file === undefined) return t.skip('no memory controller can be written on this host')
    // Pages of the base that it is first to touch are charged to it too, and are allowed for.
    const kept = Number(readFileSync(file, 'utf8'))
    assert.ok(kept >= limit && kept <= limit + template.info.memoryBytes, `${kept} is kept for ${limit}`)
    writeFileSync(file, String(48 * MiB))
    await vm.commands.run('dd if=/dev/urandom of=/tmp/fill bs=1M count=90', { background: true }).catch(() => {})
    await host.untilState(vm, 'failed')
    assert.equal(vm.info.failure?.reason, 'out-of-memory')
    await vm.remove()
  })

  it('by shutting down from inside is stopped, and boots again', async () => {
    const vm = await host.boot({ name: 'off' })
    await vm.commands.run('poweroff', { background: true }).catch(() => {})
    await host.untilState(vm, 'stopped')
    assert.equal(vm.info.failure, undefined)
    await vm.start()
    assert.equal((await vm.commands.run('hostname')).stdout.trim(), 'off')
    await vm.remove()
  })

  it('against its will is started again as its policy says, and no more often', async () => {
    const vm = await host.boot({ name: 'stubborn', restart: { mode: 'on-failure', maxRetries: 1 } })
    process.kill(vm.info.pid ?? 0, 'SIGKILL')
    await host.until('it runs again', async () => {
      const { state, restartCount } = await vm.refresh()
      return state === 'running' && restartCount === 1
    })
    assert.equal((await vm.commands.run('hostname')).stdout.trim(), 'stubborn')
    process.kill(vm.info.pid ?? 0, 'SIGKILL')
    await host.untilState(vm, 'failed')
    await host.kill9()
    await host.restart()
    assert.equal((await vm.refresh()).state, 'failed')
    await vm.remove()
  })

  it('while no daemon runs is found failed by the next one', async () => {
    const vm = await child('unseen')
    await host.kill9()
    process.kill(vm.info.pid ?? 0, 'SIGKILL')
    await host.restart()
    await vm.refresh()
    assert.equal(vm.state, 'failed')
    assert.equal(vm.info.failure?.reason, 'vmm-exit')
    await vm.remove()
  })

  for (const origin of ['booted', 'forked'] as const) {
    it(`is ${origin}, reboots from inside, and comes back with its identity`, async () => {
      const vm = origin === 'booted' ? await host.boot({ name: 'again' }) : await child('again')
      const identity =
        'hostname; cat /etc/machine-id; cat /sys/class/net/eth0/address; ip -4 addr show eth0 | grep inet'
      const before = (await vm.commands.run(identity)).stdout
      const bootId = await bootIdOf(vm)
      await vm.commands.run('touch /tmp/not-rebooted; reboot', { background: true }).catch(() => {})
      await host.until('the guest has booted anew', async () => {
        try {
          return (await bootIdOf(vm)) !== bootId
        } catch {
          return false
        }
      })
      assert.equal((await vm.refresh()).state, 'running')
      assert.equal((await vm.commands.run(identity)).stdout, before)
      assert.equal(await vm.files.exists('/tmp/not-rebooted'), false)
      await vm.remove()
    })
  }
})

async function bootIdOf(vm: Vm): Promise<string> {
  return (await vm.commands.run('cat /proc/sys/kernel/random/boot_id', { signal: AbortSignal.timeout(3000) })).stdout
}
