import { MemoryProofRegistry } from '../agent/proof-registry.ts'
import { ArmedPool } from './armed-pool.ts'
import { Bases } from './bases.ts'
import type { EngineContext } from './context.ts'
import { Deltas } from './deltas.ts'
import { Fingerprints } from './fingerprints.ts'
import type { ForkParts } from './fork-parts.ts'
import { ImageLibrary } from './image-library.ts'
import { Ports } from './ports.ts'
import { Runtimes } from './runtimes.ts'
import { Settling } from './settling.ts'
import { StreamCache } from './template-stream.ts'
import { TemplateUses } from './template-uses.ts'
import { TtlTimer } from './ttl.ts'

/** Makes the parts of one daemon's engine. */
export function assemble(context: EngineContext): ForkParts {
  const identity = { proofs: new MemoryProofRegistry() }
  const images = new ImageLibrary(context)
  const runtimes = new Runtimes(context, identity)
  const deltas = new Deltas(context)
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
    ports: new Ports(context, runtimes),
    ttl: new TtlTimer(context),
  }
  return { ...parts, armed: new ArmedPool(parts), uses: new TemplateUses() }
}
