import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import type { Clock } from '../shared/clock.ts'
import { systemClock } from '../shared/clock.ts'
import { isRametError } from '../shared/errors.ts'
import { type AppliedIdentity, applyIdentity, type GuestIdentity } from './identity.ts'
import { AgentLink } from './link.ts'
import { MemoryProofRegistry, type ProofRegistry } from './proof-registry.ts'
import { defaultWelcome, ScriptedPeer } from './testing/scripted-peer.ts'
import type { Fields } from './wire/field-table.ts'
import { decodeFields } from './wire/fields.ts'

const identity: GuestIdentity = {
  hostname: 'web-1',
  machineId: '0123456789abcdef0123456789abcdef',
  vmId: 'vm-1',
  parentId: 'tpl-1',
  forkIndex: 3,
  generation: 2,
  nics: [{ index: 0, mac: '52:54:00:12:34:56', addresses: ['10.0.2.15/24', 'fd00:0:0::1/64'], dns: [], linkUp: true }],
  env: { COLOUR: 'blue' },
}

/** Time that does not pass: a host that is busy makes no round trip too long. */
const stillClock: Clock = { ...systemClock, nowMs: () => 1_800_000_000_000, monotonicMs: () => 0 }

interface Guest {
  /** guest minus host, milliseconds, before anything is set */
  skewMs?: number
  /** how many settings of the clock have no effect */
  stuckCount?: number
  /** what the guest reports instead of the truth */
  lie?: Fields
  proof?: Buffer
  proofs?: ProofRegistry
  clock?: Clock
}

interface Outcome extends AppliedIdentity {
  operations: string[]
}

/** Applies the identity to a scripted guest with a clock of its own. */
async function applyTo({
  skewMs = 0,
  stuckCount = 0,
  lie = {},
  proof = randomBytes(32),
  proofs,
  clock = systemClock,
}: Guest): Promise<Outcome> {
  let guestSkewMs = skewMs
  let stuck = stuckCount
  const guestNs = () => BigInt(Math.round((clock.nowMs() + guestSkewMs) * 1e6))
  const setTo = (timeNs: bigint | undefined) => {
    stuck -= 1
    if (stuck < 0) guestSkewMs = Number(timeNs ?? 0n) / 1e6 - clock.nowMs()
  }
  const operations: string[] = []
  await using peer = await ScriptedPeer.listen({
    welcome: () => ({ ...defaultWelcome, timeNs: guestNs() }),
    onFrame: (frame, connection) => {
      const { op = '', env: _env, seed, ...rest } = decodeFields(frame.payload)
      operations.push(op)
      if (op !== 'ping') setTo(rest.timeNs)
      if (op !== 'identity.apply') return connection.respond(frame.stream, { timeNs: guestNs() })
      assert.equal(seed?.length, 64)
      return connection.respond(frame.stream, { ...rest, proof, timeNs: guestNs(), ...lie })
    },
  })
  const link = new AgentLink({ path: peer.path, clock })
  try {
    const session = await link.openSession()
    const options = { random: randomBytes, proofs: proofs ?? new MemoryProofRegistry() }
    return { ...(await applyIdentity(session, identity, options)), operations }
  } finally {
    link.close()
  }
}

function unproved(field: string) {
  return (error: unknown) => {
    assert(isRametError(error, 'IDENTITY_UNPROVED'), String(error))
    assert.equal(error.details.field, field)
    return true
  }
}

test('an identity that comes back as asked is proved in one round trip', async () => {
  const proof = randomBytes(32)
  const applied = await applyTo({ skewMs: -86_400_000, proof, clock: stillClock })
  assert.deepEqual(applied.operations, ['identity.apply'])
  assert(applied.proof.equals(proof))
  assert(Math.abs(applied.clock.skewMs) <= 50)
  assert.equal(applied.clockCorrections, 0)
})

test('an address in another spelling is the same address', async () => {
  const nic = { index: 0, mac: Buffer.from('525400123456', 'hex'), address: ['fd00::1/64', '10.0.2.15/24'], linkUp: 1 }
  await applyTo({ lie: { nic: [nic] } })
})

const nic = { index: 0, mac: Buffer.from('525400123456', 'hex'), address: ['10.0.2.15/24', 'fd00::1/64'], linkUp: 1 }
const lies: Record<string, Fields> = {
  hostname: { hostname: 'parent' },
  machineId: { machineId: 'f'.repeat(32) },
  vmId: { vmId: undefined },
  parentId: { parentId: 'tpl-2' },
  forkIndex: { forkIndex: 0 },
  generation: { generation: 1 },
  'nic 0': { nic: [] },
  'nic 0 mac': { nic: [{ ...nic, mac: Buffer.from('525400000000', 'hex') }] },
  'nic 0 address': { nic: [{ ...nic, address: ['10.0.2.15/24'] }] },
  'nic 0 gateway': { nic: [{ ...nic, gateway: '10.0.2.2' }] },
  'nic 0 linkUp': { nic: [{ ...nic, linkUp: 0 }] },
  proof: { proof: Buffer.alloc(32) },
}

for (const [field, lie] of Object.entries(lies)) {
  test(`a guest with another ${field} is not proved`, async () => {
    await assert.rejects(applyTo({ lie }), unproved(field))
  })
}

test('the same proof twice means that the generator was not reseeded', async () => {
  const proofs = new MemoryProofRegistry()
  const proof = randomBytes(32)
  await applyTo({ proofs, proof })
  await assert.rejects(applyTo({ proofs, proof }), unproved('proof'))
})

test('a clock that did not follow is set again', async () => {
  const applied = await applyTo({ skewMs: 400, stuckCount: 2 })
  assert.deepEqual(applied.operations, ['identity.apply', 'ping', 'clock.set', 'ping', 'clock.set', 'ping'])
  assert.equal(applied.clockCorrections, 2)
})

test('a clock that never follows is not proved', async () => {
  await assert.rejects(applyTo({ skewMs: 400, stuckCount: 99 }), unproved('timeNs'))
})

test('a MAC address that is none is the caller’s mistake', async () => {
  await using peer = await ScriptedPeer.listen()
  const link = new AgentLink({ path: peer.path })
  const session = await link.openSession()
  const nics = [{ index: 0, mac: 'nonsense', addresses: [], dns: [], linkUp: false }]
  const options = { random: randomBytes, proofs: new MemoryProofRegistry() }
  await assert.rejects(applyIdentity(session, { ...identity, nics }, options), { code: 'INVALID_ARGUMENT' })
  link.close()
})
