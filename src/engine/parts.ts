import type { Bases } from './bases.ts'
import type { EngineContext } from './context.ts'
import type { Deltas } from './deltas.ts'
import type { Fingerprints } from './fingerprints.ts'
import type { IdentityTools } from './identify.ts'
import type { ImageLibrary } from './image-library.ts'
import type { Ports } from './ports.ts'
import type { Runtimes } from './runtimes.ts'
import type { Settling } from './settling.ts'
import type { StreamCache } from './template-stream.ts'
import type { TtlTimer } from './ttl.ts'

/** The parts of the engine that its actions work with. */
export interface EngineParts {
  context: EngineContext
  identity: IdentityTools
  images: ImageLibrary
  bases: Bases
  deltas: Deltas
  settling: Settling
  fingerprints: Fingerprints
  streams: StreamCache
  runtimes: Runtimes
  ports: Ports
  ttl: TtlTimer
}
