import type { MemoryInfo } from '../../host/meminfo.ts'
import { asRametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import type { EngineContext } from '../context.ts'
import type { PageServer } from '../restore/page-server.ts'
import { type Capacity, capacityOf, fits, partToGiveBack, refusal, reserveOf, type StartNeed } from './capacity.ts'

/** Memory that is promised to a start until it is disposed of: by then the start has taken it, or has failed. */
export interface Claim extends Disposable {
  /** The guest has been given its memory, or whoever gives it counts what is missing: what is promised is QEMU's alone. */
  guestHasCome(): void
}

interface Promised {
  bytes: number
  /** of these, what the start takes while somebody waits for it */
  soonBytes: number
}

/** What admission has to know of restores. */
export interface RestoredMemory {
  /** that is connected; none is started for this */
  readonly pageServer: PageServer | undefined
  /** of vms that run: memory that still comes to them */
  readonly missingBytes: number
}

type AdmissionContext = Pick<EngineContext, 'clock' | 'log' | 'readMemory' | 'reclaimMemory' | 'settings'>

/**
 * Whether a vm may start now, by what its start takes at once (docs/decisions/0071). Before a start, and after it, memory that a
 * cache has freed lazily is really freed, and the kernel drops what else it can, so that the start need not wait while it does.
 */
export class Admission {
  readonly #context: AdmissionContext
  readonly #restores: RestoredMemory
  readonly #claims = new Set<Promised>()
  /** starts that wait for another to be over */
  readonly #waiting = new Set<() => void>()
  #refusedCount = 0
  #gaveBackBytes = 0
  #givingBack: Promise<void> | undefined
  #isWanted = false
  /** until the kernel has been asked in vain */
  #mayReclaim = true

  constructor(context: AdmissionContext, restores: RestoredMemory) {
    this.#context = context
    this.#restores = restores
  }

  get capacity(): Capacity {
    return this.#capacity(this.#restores.missingBytes + sumOf(this.#claims, 'bytes'))
  }

  #withoutStarts(): Capacity {
    return this.#capacity(this.#restores.missingBytes)
  }

  #capacity(promisedBytes: number): Capacity {
    const memory = this.#context.readMemory()
    return capacityOf(memory, { reserveBytes: this.#reserveBytes(memory), promisedBytes })
  }

  #reserveBytes({ totalBytes }: MemoryInfo): number {
    return reserveOf(totalBytes, this.#context.settings.memoryReserveBytes)
  }

  /** starts that were refused, and what caches gave back for starts, since the daemon began */
  get counts(): { refusedCount: number; gaveBackBytes: number } {
    return { refusedCount: this.#refusedCount, gaveBackBytes: this.#gaveBackBytes }
  }

  /**
   * Refuses early what would be refused later, whoever else is starting.
   *
   * @throws RametError `NO_CAPACITY`
   */
  check(need: StartNeed): void {
    this.#refuseUnlessFits(need, this.#withoutStarts())
  }

  /**
   * Admits a start: what it needs is promised to it from now on. Where it would fit but for starts under way, it waits for
   * those: they are promised more than they take, as a rule.
   *
   * @throws RametError `NO_CAPACITY`; the signal's reason
   */
  async admit(need: StartNeed, signal?: AbortSignal): Promise<Claim> {
    while (this.#claims.size > 0 && !fits(need, this.capacity) && fits(need, this.#withoutStarts())) {
      await this.#claimEnds(signal)
    }
    this.#refuseUnlessFits(need, this.capacity)
    return await this.promise(need)
  }

  /**
   * Promises a start what it needs, whether it fits or not: for one that takes the place of a vm that ran, and has no way back.
   * Waits a little for memory to be given back.
   */
  async promise(need: StartNeed): Promise<Claim> {
    const { guestBytes, vmmBytes } = need
    const claim = { bytes: guestBytes + vmmBytes, soonBytes: need.isLazy ? vmmBytes : guestBytes + vmmBytes }
    this.#claims.add(claim)
    await this.#makeRoom()
    return {
      guestHasCome: () => {
        claim.bytes = vmmBytes
        claim.soonBytes = vmmBytes
      },
      [Symbol.dispose]: () => {
        if (!this.#claims.delete(claim)) return
        for (const wake of this.#waiting) wake()
        this.topUp()
      },
    }
  }

  /** Has the reserve free again, in the background: something has taken memory. */
  topUp(): void {
    this.#isWanted = true
    this.#givingBack ??= this.#giveBackAll().finally(() => {
      this.#givingBack = undefined
    })
  }

  /** Resolves when nothing is being given back. */
  async settled(): Promise<void> {
    while (this.#givingBack !== undefined) await this.#givingBack
  }

  #refuseUnlessFits(need: StartNeed, capacity: Capacity): void {
    if (fits(need, capacity)) return
    this.#refusedCount += 1
    throw refusal(need, capacity)
  }

  async #claimEnds(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted()
    const { promise, resolve } = Promise.withResolvers<void>()
    const wake = () => resolve()
    this.#waiting.add(wake)
    signal?.addEventListener('abort', wake, { once: true })
    await promise
    this.#waiting.delete(wake)
    signal?.removeEventListener('abort', wake)
    signal?.throwIfAborted()
  }

  /** How much should be free by now and is not. */
  #short(memory = this.#context.readMemory()): { memory: MemoryInfo; wantedBytes: number; isShort: boolean } {
    const wantedBytes = this.#reserveBytes(memory) + sumOf(this.#claims, 'soonBytes')
    return { memory, wantedBytes, isShort: memory.freeBytes < wantedBytes }
  }

  async #makeRoom(): Promise<void> {
    const nobodyHelps = this.#restores.pageServer === undefined && !this.#mayReclaim
    if (nobodyHelps || !this.#short().isShort) return
    this.topUp()
    const waiting = new AbortController()
    const patience = this.#context.clock.sleep(limits.giveBackWaitMs, waiting.signal).catch(() => {})
    await Promise.race([this.settled(), patience])
    waiting.abort()
  }

  /** One after the other: each time by what there is then. Never throws. */
  async #giveBackAll(): Promise<void> {
    while (this.#isWanted) {
      this.#isWanted = false
      try {
        await this.#giveBack()
      } catch (error) {
        this.#context.log.debug({ error: asRametError(error).message }, 'the cache gave nothing back')
      }
      await this.#reclaim()
    }
  }

  async #giveBack(): Promise<void> {
    const server = this.#restores.pageServer
    if (server === undefined || !this.#short().isShort) return
    const { kind, freeHeldBytes, lazyFreeBytes = freeHeldBytes } = await server.cache()
    // Frames of a pool stay where they are, and a plain cache has nothing that others could take.
    if (kind !== 'kernel') return
    const { memory, wantedBytes } = this.#short()
    const bytes = partToGiveBack(memory, wantedBytes, lazyFreeBytes)
    if (bytes < limits.giveBackLeastBytes) return
    const givenBytes = await server.giveBack(bytes)
    this.#gaveBackBytes += givenBytes
    this.#context.log.debug({ bytes, givenBytes }, 'the cache gave memory back')
  }

  /** What the cache's part does not cover. */
  async #reclaim(): Promise<void> {
    const { memory, wantedBytes } = this.#short()
    const lackingBytes = Math.min(wantedBytes, memory.availableBytes) - memory.freeBytes
    if (!this.#mayReclaim || lackingBytes < limits.giveBackLeastBytes) return
    const bytes = Math.min(lackingBytes, limits.reclaimMostBytes)
    this.#mayReclaim = await this.#context.reclaimMemory(bytes)
    this.#context.log.debug({ bytes, done: this.#mayReclaim }, 'the kernel was asked to drop memory')
  }
}

function sumOf(claims: ReadonlySet<Promised>, of: keyof Promised): number {
  let sum = 0
  for (const claim of claims) sum += claim[of]
  return sum
}
