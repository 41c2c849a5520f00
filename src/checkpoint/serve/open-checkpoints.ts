/** Opening what a restore reads: its checkpoint, and the base under it. */
import { type KeptPieces, StoredBasePages } from '../../memory/stored-base-pages.ts'
import { limits } from '../../shared/limits.ts'
import { HttpRangeSource } from '../file/http-range-source.ts'
import { FileSource, type RangeSource } from '../file/range-source.ts'
import { Checkpoint } from '../file/read.ts'
import type { BasePages } from './base-pages.ts'
import type { OpenCheckpoint } from './block-store.ts'
import { DelayedSource } from './delayed-source.ts'
import type { RestoreRequest } from './protocol.ts'
import { type Lease, Shared } from './shared.ts'

type Wanted = Pick<RestoreRequest, 'checkpoint' | 'digest' | 'storeDelayMs'>

/** A base by its place and its names: the catalogue's, and that of its content. */
export interface WantedBase {
  readonly path: string
  readonly id: string
  readonly digest: string
}

/** What restores read, each open once however many of them do. */
export class OpenCheckpoints {
  readonly #checkpoints = new Shared<OpenCheckpoint & AsyncDisposable>()
  readonly #bases = new Shared<BasePages>()
  readonly #kept: KeptPieces

  /** @param kept what was read of bases */
  constructor(kept: KeptPieces) {
    this.#kept = kept
  }

  /** @throws RametError `NOT_FOUND`, `CHECKPOINT_DAMAGED`, `CHECKPOINT_UNFIT`; what the source throws */
  acquire(wanted: Wanted): Promise<Lease<OpenCheckpoint>> {
    const key = JSON.stringify([wanted.checkpoint, wanted.digest, wanted.storeDelayMs])
    return this.#checkpoints.acquire(key, () => open(wanted))
  }

  /** @throws RametError `NOT_FOUND`, `BASE_DAMAGED` also when it is another base than the one meant */
  acquireBase({ path, id, digest }: WantedBase): Promise<Lease<BasePages>> {
    const options = { id, digest, cacheCount: limits.pageServerBaseCacheCount, kept: this.#kept }
    return this.#bases.acquire(JSON.stringify([path, id, digest]), () => StoredBasePages.open(path, options))
  }
}

async function open({ checkpoint: place, digest, storeDelayMs }: Wanted): Promise<OpenCheckpoint & AsyncDisposable> {
  const opened = await openSource(place)
  try {
    const source = storeDelayMs > 0 ? new DelayedSource(opened, storeDelayMs) : opened
    const loads = new Set<Promise<unknown>>()
    const close = async () => {
      // A thread may still read by the descriptor, whose number the next file would get.
      await Promise.allSettled(loads)
      await opened[Symbol.asyncDispose]()
    }
    const checkpoint = await Checkpoint.open(source, { digest })
    let map: ReturnType<Checkpoint['readLocality']> | undefined
    const locality = () => {
      if (map !== undefined) return map
      map = checkpoint.readLocality()
      loads.add(map)
      map.catch(() => {
        map = undefined
      })
      return map
    }
    return { checkpoint, source, locality, loads, [Symbol.asyncDispose]: close }
  } catch (error) {
    await opened[Symbol.asyncDispose]()
    throw error
  }
}

async function openSource(checkpoint: RestoreRequest['checkpoint']): Promise<RangeSource & AsyncDisposable> {
  if ('path' in checkpoint) return FileSource.open(checkpoint.path)
  const source = new HttpRangeSource(checkpoint.url)
  return Object.assign(source, { [Symbol.asyncDispose]: () => Promise.resolve() })
}
