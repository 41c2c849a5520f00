import { isIPv6, SocketAddress } from 'node:net'
import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { type ClockSample, hostTimeNs, sampleClock, setClock, timed } from './clock.ts'
import type { WaitOptions } from './deadline.ts'
import type { ProofRegistry } from './proof-registry.ts'
import type { AgentSession } from './session.ts'
import type { Fields } from './wire/field-table.ts'

export interface NicIdentity {
  /** number of the NIC, in PCI order */
  readonly index: number
  /** `52:54:00:12:34:56` */
  readonly mac: string
  /** `10.0.2.15/24`, IPv6 too */
  readonly addresses: readonly string[]
  readonly gateway?: string | undefined
  readonly dns: readonly string[]
  readonly linkUp: boolean
}

/** What makes a guest itself. */
export interface GuestIdentity {
  readonly hostname: string
  /** 32 hexadecimal digits */
  readonly machineId: string
  readonly vmId: string
  readonly parentId: string
  readonly forkIndex: number
  readonly generation: number
  readonly nics: readonly NicIdentity[]
  /** environment of all later processes and hooks */
  readonly env: Readonly<Record<string, string>>
}

export interface IdentityOptions extends WaitOptions {
  random: (bytes: number) => Buffer
  /** refuses a proof that another guest of the same base has given */
  proofs: ProofRegistry
}

export interface AppliedIdentity {
  /** drawn from the guest kernel's generator after it was reseeded, 32 bytes */
  readonly proof: Buffer
  readonly clock: ClockSample
  /** how often the clock was set again after the identity */
  readonly clockCorrections: number
  readonly timings: { readonly applyMs: number; readonly clockMs: number }
}

const seedBytes = 64
const proofBytes = 32

/**
 * Gives a guest its identity and proves it: fresh randomness, names, addresses and the time, read back and compared.
 * One round trip, and another where the first took too long to vouch for the clock.
 *
 * @throws RametError `IDENTITY_UNPROVED` naming the field, what was expected and what was found;
 *   or as `AgentSession.request`. The guest must not be thawed then.
 */
export async function applyIdentity(
  session: AgentSession,
  identity: GuestIdentity,
  { random, proofs, ...wait }: IdentityOptions,
): Promise<AppliedIdentity> {
  const startMs = session.clock.monotonicMs()
  const delayMs = usualDelayMs(session)
  const seed = random(seedBytes)
  const fields = () => ({ ...toFields(identity), seed, timeNs: hostTimeNs(session.clock, delayMs) })
  const { answer, sample } = await timed(session, 'identity.apply', fields, wait)
  compare(identity, answer)
  const proof = checkProof(answer, proofs)
  const appliedMs = session.clock.monotonicMs()
  const settled = await settleClock(session, sample, wait)
  const timings = { applyMs: appliedMs - startMs, clockMs: session.clock.monotonicMs() - appliedMs }
  return { proof, ...settled, timings }
}

/** Half of what the session's opening took, unless that waited for something other than the link. */
function usualDelayMs({ welcome }: AgentSession): number {
  const halfMs = (welcome.welcomedAtMs - welcome.openedAtMs) / 2
  return halfMs < limits.clockSkewMs / 2 ? halfMs : 0
}

async function settleClock(
  session: AgentSession,
  applied: ClockSample,
  wait: WaitOptions,
): Promise<{ clock: ClockSample; clockCorrections: number }> {
  let sample = applied
  // Applying takes its time before the guest reads its clock: only if even the worst case is good, is one trip enough.
  if (!isSurelyGood(sample)) sample = await sampleClock(session, wait)
  let count = 0
  for (; count < limits.clockCorrectionCount && !isSurelyGood(sample); count += 1) {
    // What a slow trip cannot vouch for is measured again; what it does show to be off is set first.
    if (Math.abs(sample.skewMs) > sample.roundTripMs / 2) await setClock(session, sample.roundTripMs / 2, wait)
    sample = await sampleClock(session, wait)
  }
  if (Math.abs(sample.skewMs) <= limits.clockSkewMs) return { clock: sample, clockCorrections: count }
  throw unproved('timeNs', `within ${limits.clockSkewMs} ms of the host`, `${sample.skewMs.toFixed(1)} ms off`)
}

/** Within the limit wherever in its round trip the guest read its clock. */
function isSurelyGood({ skewMs, roundTripMs }: ClockSample): boolean {
  return Math.abs(skewMs) + roundTripMs / 2 <= limits.clockSkewMs
}

function toFields(identity: GuestIdentity): Fields {
  const { hostname, machineId, vmId, parentId, forkIndex, generation, nics, env } = identity
  return {
    hostname,
    machineId,
    vmId,
    parentId,
    forkIndex,
    generation,
    nic: nics.map((nic) => ({
      index: nic.index,
      mac: macBytes(nic.mac),
      address: nic.addresses,
      gateway: nic.gateway,
      dns: nic.dns,
      linkUp: nic.linkUp ? 1 : 0,
    })),
    env: Object.entries(env).map(([name, value]) => `${name}=${value}`),
  }
}

function compare(identity: GuestIdentity, answer: Fields): void {
  for (const name of ['hostname', 'machineId', 'vmId', 'parentId', 'forkIndex', 'generation'] as const) {
    if ((answer[name] ?? '') !== identity[name]) throw unproved(name, identity[name], answer[name])
  }
  for (const nic of identity.nics)
    compareNic(
      nic,
      answer.nic?.find(({ index }) => index === nic.index),
    )
}

function compareNic(nic: NicIdentity, found: Fields | undefined): void {
  const where = `nic ${nic.index}`
  if (found === undefined) throw unproved(where, 'present', undefined)
  const same = (name: string, expected: unknown, actual: unknown) => {
    if (JSON.stringify(expected) !== JSON.stringify(actual)) throw unproved(`${where} ${name}`, expected, actual)
  }
  same('mac', macBytes(nic.mac).toString('hex'), Buffer.from(found.mac ?? []).toString('hex'))
  const addresses = nic.addresses.map(canonical).sort()
  const kernelsOwn = (address: string) => address.startsWith('fe80:') && !addresses.includes(address)
  same(
    'address',
    addresses,
    (found.address ?? [])
      .map(canonical)
      .filter((address) => !kernelsOwn(address))
      .sort(),
  )
  // A link that stays down takes no routes.
  if (nic.linkUp) same('gateway', canonical(nic.gateway ?? ''), canonical(found.gateway ?? ''))
  // The guest has one list of name servers for all its NICs.
  const servers = (found.dns ?? []).map(canonical)
  for (const server of nic.dns.map(canonical)) if (!servers.includes(server)) same('dns', server, servers)
  same('linkUp', nic.linkUp ? 1 : 0, found.linkUp)
}

function checkProof(answer: Fields, proofs: ProofRegistry): Buffer {
  const proof = Buffer.from(answer.proof ?? [])
  if (proof.length !== proofBytes) throw unproved('proof', `${proofBytes} bytes`, `${proof.length} bytes`)
  if (proof.equals(Buffer.alloc(proofBytes))) throw unproved('proof', 'random bytes', 'zeros')
  if (!proofs.add(proof)) throw unproved('proof', 'bytes that no other guest of this base has given', 'a repeat')
  return proof
}

/** @throws RametError `INVALID_ARGUMENT` */
function macBytes(mac: string): Buffer {
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(mac)) {
    throw new RametError('INVALID_ARGUMENT', { message: `“${mac}” is not a MAC address` })
  }
  return Buffer.from(mac.replaceAll(':', ''), 'hex')
}

/** One spelling for each address: IPv6 has many. */
function canonical(text: string): string {
  const [address = '', prefix] = text.split('/')
  const spelled = isIPv6(address) ? new SocketAddress({ address, family: 'ipv6' }).address : address
  return prefix === undefined ? spelled : `${spelled}/${prefix}`
}

function unproved(field: string, expected: unknown, found: unknown): RametError {
  return new RametError('IDENTITY_UNPROVED', {
    message: `the guest did not prove its ${field}: expected ${show(expected)}, found ${show(found)}`,
    details: { field, expected, found: found ?? null },
  })
}

function show(value: unknown): string {
  return value === undefined ? 'nothing' : JSON.stringify(value)
}
