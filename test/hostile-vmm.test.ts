import assert from 'node:assert/strict'
import { readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { it } from 'node:test'
import { defaultUidRange } from '../src/host/uids.ts'
import { userNetworksOf } from '../src/qemu/user-network.ts'
import { isRoot } from './support/environment.ts'
import { withHost } from './support/host.ts'

/** What a QEMU that its guest has taken over can do: it owns its directory, and waits for a new daemon. */
it('takes no other socket for that of a vm, when the next daemon adopts it', { timeout: 120_000 }, async () => {
  await withHost({}, async (host) => {
    const [victim, ...hostile] = await Promise.all([
      host.boot({ name: 'victim' }),
      host.boot({ name: 'takes-qmp' }),
      host.boot({ name: 'takes-agent' }),
    ])
    assert.ok(victim)
    const fileOf = (id: string, name: string) => join(host.dataDir, 'vms', id, name)
    await host.kill9()
    for (const [index, name] of ['qmp.sock', 'agent.sock'].entries()) {
      const own = fileOf(hostile[index]?.id ?? '', name)
      rmSync(own)
      symlinkSync(fileOf(victim.id, name), own)
    }
    renameSync(fileOf(victim.id, 'qemu.log'), fileOf(victim.id, 'qemu.log.1'))
    symlinkSync('/etc/passwd', fileOf(victim.id, 'qemu.log'))
    await host.restart()
    const after = await host.ramet.vms.get('victim')
    assert.equal(after.state, 'running')
    assert.equal((await after.commands.run('hostname')).stdout, 'victim\n')
    const qmp = await host.ramet.vms.get('takes-qmp')
    assert.equal(qmp.state, 'failed', 'a vm whose QMP leads elsewhere is not run on')
    assert.match(qmp.info.failure?.message ?? '', /socket was replaced/)
    const agent = await host.ramet.vms.get('takes-agent')
    await assert.rejects(agent.commands.run('hostname', { signal: AbortSignal.timeout(3_000) }))
    assert.match(host.daemon.log, /takes-agent.*the socket was replaced|the socket was replaced.*takes-agent/)
    await qmp.remove({ force: true })
    await agent.remove({ force: true })
    assert.equal((await after.commands.run('hostname')).stdout, 'victim\n', 'nothing of it reached the other vm')
  })
})

it('runs what serves a guest without any privilege, each vm as a user of its own', { skip: !isRoot }, async () => {
  await withHost({}, async (host) => {
    const vms = await Promise.all(['one', 'two'].map((name) => host.boot({ name, nics: [{ network: 'user' }] })))
    const users = vms.map((vm) => {
      assert.ok(vm.info.pid)
      const [passt] = userNetworksOf(join(host.dataDir, 'vms', vm.id))
      assert.ok(passt)
      const [qemuUser, passtUser] = [vm.info.pid, passt.pid].map((pid) => {
        const status = statusOf(pid)
        assert.equal(Number(`0x${status.get('CapEff')}`), 0, 'no capability')
        assert.equal(Number(`0x${status.get('CapPrm')}`), 0)
        assert.equal(Number(`0x${status.get('CapInh')}`), 0)
        assert.equal(status.get('Seccomp'), '2', 'a filter of system calls')
        assert.equal(status.get('Groups')?.trim(), '', 'no further group')
        const users = new Set([...(status.get('Uid')?.split('\t') ?? []), ...(status.get('Gid')?.split('\t') ?? [])])
        assert.equal(users.size, 1, 'one user, which is its group')
        return Number([...users][0])
      })
      assert.equal(passtUser, qemuUser)
      assert.ok(qemuUser !== undefined && qemuUser >= defaultUidRange.first)
      return qemuUser
    })
    assert.equal(new Set(users).size, 2)
  })
})

function statusOf(pid: number): Map<string, string> {
  const lines = readFileSync(`/proc/${pid}/status`, 'utf8').split('\n')
  return new Map(lines.map((line) => [line.split(':')[0] ?? '', line.slice(line.indexOf(':') + 1).trim()]))
}
