import assert from 'node:assert/strict'
import { renameSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { it } from 'node:test'
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
