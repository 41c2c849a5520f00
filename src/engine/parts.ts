import type { EngineContext } from './context.ts'
import type { Bases } from './disk/bases.ts'
import type { Deltas } from './disk/deltas.ts'
import type { Fingerprints } from './disk/fingerprints.ts'
import type { Settling } from './disk/settling.ts'
import type { IdentityTools } from './guest/identify.ts'
import type { Ports } from './guest/ports.ts'
import type { Admission } from './host/admission.ts'
import type { Calls } from './idle/calls.ts'
import type { ImageLibrary } from './image/image-library.ts'
import type { Processors } from './restore/processors.ts'
import type { Restores } from './restore/restores.ts'
import type { StreamCache } from './template/template-stream.ts'
import type { Runtimes } from './vm/runtimes.ts'
import type { TtlTimer } from './vm/ttl.ts'

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
  /** whoever needs a guest begins a call */
  calls: Calls
  restores: Restores
  /** whoever starts a vm is admitted first */
  admission: Admission
  processors: Processors
  ports: Ports
  ttl: TtlTimer
}
