import { MemoryProofRegistry } from '../agent/proof-registry.ts'
import type { EngineContext } from './context.ts'
import { Bases } from './disk/bases.ts'
import { Deltas } from './disk/deltas.ts'
import { Fingerprints } from './disk/fingerprints.ts'
import { Settling } from './disk/settling.ts'
import { ArmedPool } from './fork/armed-pool.ts'
import type { ForkParts } from './fork/fork-parts.ts'
import { Ports } from './guest/ports.ts'
import { Admission } from './host/admission.ts'
import { Calls } from './idle/calls.ts'
import { ImageLibrary } from './image/image-library.ts'
import { Processors } from './restore/processors.ts'
import { Restores } from './restore/restores.ts'
import { StreamCache } from './template/template-stream.ts'
import { Uses } from './uses.ts'
import { Runtimes } from './vm/runtimes.ts'
import { TtlTimer } from './vm/ttl.ts'

/** Makes the parts of one daemon's engine. */
export function assemble(context: EngineContext): ForkParts {
  const identity = { proofs: new MemoryProofRegistry() }
  const images = new ImageLibrary(context)
  const runtimes = new Runtimes(context, identity)
  const deltas = new Deltas(context)
  const calls = new Calls(context, runtimes)
  const restores = new Restores(context)
  // Whoever talks to such a guest may wait for good: all begin anew, and are refused.
  restores.onFailed = (vmId) => runtimes.get(vmId)?.guest.reset()
  const admission = new Admission(context, restores)
  restores.onTaken = () => admission.topUp()
  const parts = {
    context,
    identity,
    images,
    bases: new Bases(context),
    deltas,
    settling: new Settling(context, runtimes, deltas),
    fingerprints: new Fingerprints(context, images),
    streams: new StreamCache(context),
    runtimes,
    calls,
    ports: new Ports(context, runtimes, calls),
    processors: new Processors(context, images),
    restores,
    admission,
    ttl: new TtlTimer(context),
  }
  return { ...parts, armed: new ArmedPool(parts), uses: new Uses() }
}
