import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setClock } from '../../clock.ts'
import { freeze, syncDisks, thaw } from '../../freeze.ts'
import { runHooks } from '../../hooks.ts'
import { applyIdentity, type GuestIdentity } from '../../identity.ts'
import { MemoryProofRegistry } from '../../proof-registry.ts'
import { agentTest, type StartAgent } from './context.ts'

const identity: GuestIdentity = {
  hostname: 'web-1',
  machineId: '0123456789abcdef0123456789abcdef',
  vmId: 'vm-000000000001',
  parentId: 'tpl-00000000001',
  forkIndex: 3,
  generation: 2,
  nics: [],
  env: { COLOUR: 'blue' },
}

/** What a fork does to a guest; for the real agent alone, which is told to leave its host as it is. */
export function identitySuite(agent: string, start: StartAgent): void {
  agentTest(`${agent}: an identity is applied, proved and written down`, start, async ({ open, directory }) => {
    const session = await open()
    const proofs = new MemoryProofRegistry()
    const applied = await applyIdentity(session, identity, { random: randomBytes, proofs })
    assert.equal(applied.proof.length, 32)
    assert(Math.abs(applied.clock.skewMs) <= 50)
    const written = JSON.parse(await readFile(join(directory, 'root/run/ramet/identity.json'), 'utf8'))
    assert.equal(written.vmId, identity.vmId)
    assert.equal(written.generation, 2)
    const again = await applyIdentity(session, { ...identity, generation: 3 }, { random: randomBytes, proofs })
    assert(!again.proof.equals(applied.proof))
  })

  agentTest(`${agent}: freeze, thaw, sync, clock and hooks are answered`, start, async ({ open }) => {
    const session = await open()
    await freeze(session)
    await thaw(session)
    await thaw(session)
    await syncDisks(session)
    assert(Math.abs((await setClock(session, 0)).skewMs) <= 50)
    assert.deepEqual(await runHooks(session, 'post-fork'), [])
  })
}
