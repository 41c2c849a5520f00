import { type AppliedIdentity, applyIdentity } from '../../agent/identity.ts'
import type { ProofRegistry } from '../../agent/proof-registry.ts'
import type { AgentSession } from '../../agent/session.ts'
import { addressOf, gatewayOf, machineIdOf } from '../../fork/seat.ts'
import type { EngineContext } from '../context.ts'
import type { VmRecord } from '../records.ts'

/** Proofs of fresh randomness of this daemon's life: no two guests may give the same. */
export interface IdentityTools {
  proofs: ProofRegistry
}

/**
 * Gives a guest the identity of its vm and proves it.
 *
 * @throws RametError `IDENTITY_UNPROVED`: the guest must not be let go then
 */
export function identify(
  context: EngineContext,
  tools: IdentityTools,
  vm: VmRecord,
  session: AgentSession,
  signal?: AbortSignal,
): Promise<AppliedIdentity> {
  return applyIdentity(
    session,
    {
      hostname: vm.hostname,
      machineId: machineIdOf(vm.id),
      vmId: vm.id,
      parentId: vm.parentId ?? '',
      forkIndex: vm.forkIndex ?? 0,
      generation: vm.generation,
      nics: vm.nics.map((nic, index) => ({
        index,
        mac: nic.mac,
        addresses: nic.network === 'none' ? [] : [addressOf(vm.seat, index)],
        ...(nic.network === 'user' ? { gateway: gatewayOf(index) } : {}),
        dns: nic.network === 'user' ? context.host.nameServers : [],
        linkUp: nic.network !== 'none',
      })),
      env: vm.environment,
    },
    { random: context.random, proofs: tools.proofs, ...(signal === undefined ? {} : { signal }) },
  )
}
