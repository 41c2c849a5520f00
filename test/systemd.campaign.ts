import assert from 'node:assert/strict'
import { createReadStream } from 'node:fs'
import { after, before, describe, it } from 'node:test'
import type { Vm } from '../src/client/index.ts'
import { Host } from './support/host.ts'
import { systemdRoot } from './support/systemd-root.ts'

/**
 * Counts about a hundred times a second, and notes at which count it first saw each host name. Nothing of it is
 * on a disk: a program that were started again would begin at 1.
 */
const counter = `#!/bin/bash
mkfifo /run/tick
exec 3<>/run/tick
n=0
while :; do
  n=$((n+1))
  read -r name </proc/sys/kernel/hostname
  [ "$name" = "$last" ] || echo "$n $name" >>/run/names
  last=$name
  echo $n >/run/count
  read -r -t 0.01 -u 3
done
`
const unit = `[Service]
ExecStart=/bin/bash /usr/local/bin/counter
ExecStop=/bin/bash -c 'echo stopped >>/var/lib/counter-ends'
[Install]
WantedBy=multi-user.target
`

describe('a vm with an init of its own, systemd', () => {
  let host: Host
  let parent: Vm
  let children: Vm[] = []
  let mainPid = ''
  let countBefore = 0

  before(async () => {
    host = await Host.start({ images: [] })
    const root = await systemdRoot()
    await host.ramet.images.import(createReadStream(root), { name: 'systemd', init: 'system' })
    parent = await host.boot({ name: 'parent', image: 'systemd', memoryBytes: 256 * 1024 ** 2 })
  })
  after(() => host.close())

  it('boots with systemd as its first process, and the agent beside it', async () => {
    assert.equal(parent.state, 'running')
    assert.equal(await output(parent, 'cat /proc/1/comm'), 'systemd')
    assert.equal(await output(parent, 'readlink /proc/1/exe'), '/usr/lib/systemd/systemd')
    await untilUp(parent)
    assert.equal(await output(parent, 'systemctl list-units --failed --plain --no-legend'), '')
    assert.equal(await output(parent, 'hostname'), 'parent')
  })

  it('runs services, which know nothing of Ramet', async () => {
    await parent.files.write([
      { path: '/usr/local/bin/counter', data: counter },
      { path: '/etc/systemd/system/counter.service', data: unit },
    ])
    await parent.commands.run('systemctl daemon-reload && systemctl enable --now counter')
    await parent.commands.run('until [ -s /run/count ] && [ $(cat /run/count) -ge 50 ]; do sleep 0.1; done')
    assert.equal(
      await output(parent, 'cat /proc/$(systemctl show -P MainPID counter)/cgroup'),
      '0::/system.slice/counter.service',
    )
    mainPid = await output(parent, 'systemctl show -P MainPID counter')
    countBefore = await counted(parent)
  })

  it('is forked with its services frozen from the capture until the child is itself', async () => {
    const { template } = await host.ramet.templates.create({ from: 'vm', vm: parent.id, name: 'services' })
    children = await template.forkAll({ count: 2, names: ['left', 'right'] })
    const firsts = await Promise.all(children.map((child) => firstCounts(child)))
    for (const [index, child] of children.entries()) {
      const [own, inherited] = [firsts[index]?.get(child.name), firsts[index]?.get('parent')]
      assert.deepEqual([...(firsts[index]?.keys() ?? [])], ['parent', child.name], 'no count under another name')
      assert.equal(inherited, 1)
      assert.ok(own !== undefined && own > countBefore, `${own} goes on from ${countBefore}`)
      assert.equal(await output(child, 'systemctl show -P MainPID counter'), mainPid)
      const now = await counted(child)
      await child.commands.run(`until [ $(cat /run/count) -gt ${now} ]; do sleep 0.05; done`)
    }
    // A service that had run between its memory's capture and the child's identity would have counted on.
    assert.equal(firsts[0]?.get('left'), firsts[1]?.get('right'), 'both saw their names at the same count')
  })

  it('gives each child an identity of its own, which systemd sees too', async () => {
    const identities = await Promise.all(
      children.map((child) =>
        output(child, 'cat /etc/machine-id /sys/class/net/eth0/address /run/ramet/identity.json'),
      ),
    )
    assert.notEqual(identities[0], identities[1])
    for (const [index, child] of children.entries()) {
      const [machineId = '', mac = ''] = identities[index]?.split('\n') ?? []
      assert.match(machineId, /^[0-9a-f]{32}$/)
      assert.equal(identities.filter((text) => text.includes(machineId)).length, 1, 'a machine-id of its own')
      assert.equal(identities.filter((text) => text.includes(mac)).length, 1, 'an address of its own')
      assert.equal(await output(child, 'systemctl is-active counter'), 'active')
      assert.equal(await output(child, 'systemctl is-system-running'), 'running')
    }
  })

  it('reboots by its own means, and is the same vm', async () => {
    const [child] = children
    assert.ok(child)
    const who = 'hostname; cat /etc/machine-id /sys/class/net/eth0/address'
    const before = await output(child, who)
    const bootId = await output(child, 'cat /proc/sys/kernel/random/boot_id')
    await child.commands.run('systemctl reboot', { background: true }).catch(() => {})
    await host.until('the guest has booted anew', async () => {
      const now = output(child, 'cat /proc/sys/kernel/random/boot_id', 3_000)
      return (await now.catch(() => bootId)) !== bootId
    })
    assert.equal((await child.refresh()).state, 'running')
    await untilUp(child)
    assert.equal(await output(child, who), before)
    assert.equal(await output(child, 'cat /var/lib/counter-ends'), 'stopped', 'systemd ended its services')
    assert.equal((await firstCounts(child)).get(child.name), 1, 'the service has begun again')
  })

  it('stops by asking systemd, which ends its services', async () => {
    const [, child] = children
    assert.ok(child)
    await child.stop()
    assert.equal((await child.refresh()).state, 'stopped')
    assert.equal(child.info.failure, undefined)
    await child.start()
    assert.equal(await output(child, 'cat /var/lib/counter-ends'), 'stopped')
    assert.equal(await output(child, 'hostname'), 'right')
    // Early in its boot: systemd may not listen yet.
    await child.stop()
  })
})

async function output(vm: Vm, command: string, timeoutMs = 30_000): Promise<string> {
  return (await vm.commands.run(command, { signal: AbortSignal.timeout(timeoutMs) })).stdout.trim()
}

/** Resolves when all jobs of the boot are done: the agent answers long before, as no unit of systemd's. */
async function untilUp(vm: Vm): Promise<void> {
  const wait =
    'while :; do state=$(systemctl is-system-running 2>/dev/null); case "$state" in ""|offline|initializing|starting) sleep 0.2;; *) echo $state; break;; esac; done'
  const state = await output(vm, wait, 120_000)
  assert.equal(state, 'running', await output(vm, 'systemctl list-units --failed --plain --no-legend'))
}

async function counted(vm: Vm): Promise<number> {
  return Number(await output(vm, 'cat /run/count'))
}

/** By host name: the count at which the service first saw it. Waits until it has seen the vm's present one. */
async function firstCounts(vm: Vm): Promise<Map<string, number>> {
  await vm.commands.run(`until grep -q ' ${vm.name}$' /run/names; do sleep 0.05; done`)
  const lines = (await output(vm, 'cat /run/names')).split('\n').map((line) => line.split(' '))
  return new Map(lines.map(([count, name]) => [name ?? '', Number(count)]))
}
