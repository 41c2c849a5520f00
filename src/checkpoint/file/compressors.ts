/**
 * Threads that compress blocks. Pages are written into a slot of shared memory and compressed out of it: nothing is
 * copied between threads, and slots are all the memory that a checkpoint of any size needs.
 */
import { Worker } from 'node:worker_threads'
import { assert } from '../../shared/assert.ts'
import { RametError } from '../../shared/errors.ts'
import {
  allocateSlots,
  type CompressedJob,
  type CompressJob,
  digestOf,
  inputOf,
  outputOf,
  type SlotMemory,
} from './compress-job.ts'

/** Slots for each thread: one to compress, one to begin with at once after it, one that waits to be written. */
const slotsPerWorker = 3

export interface CompressedBlock {
  /** what to store; valid until the slot is filled again */
  readonly stored: Buffer
  readonly digest: Buffer
}

interface Thread {
  readonly worker: Worker
  jobCount: number
}

interface Pending {
  readonly thread: Thread
  readonly rawBytes: number
  readonly answered: PromiseWithResolvers<CompressedBlock>
}

export class Compressors implements AsyncDisposable {
  readonly slotCount: number
  readonly #memory: SlotMemory
  readonly #threads: Thread[]
  readonly #pending = new Map<number, Pending>()
  #failure: RametError | undefined

  /** @param slotBytes size of the largest block */
  constructor(workerCount: number, slotBytes: number) {
    assert(Number.isInteger(workerCount) && workerCount > 0, 'at least one thread')
    this.slotCount = workerCount * slotsPerWorker
    this.#memory = allocateSlots(this.slotCount, slotBytes)
    this.#threads = Array.from({ length: workerCount }, () => this.#start())
  }

  /** Where the pages of a block go. */
  inputOf(slot: number): Buffer {
    return inputOf(this.#memory, slot)
  }

  /**
   * Compresses the first `rawBytes` of a slot, which stays as it is until this has resolved.
   *
   * @throws RametError `INTERNAL` when a thread died
   */
  compress(slot: number, rawBytes: number): Promise<CompressedBlock> {
    assert(!this.#pending.has(slot), 'a slot is compressed once at a time')
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    const thread = this.#threads.reduce((idle, other) => (other.jobCount < idle.jobCount ? other : idle))
    const answered = Promise.withResolvers<CompressedBlock>()
    // Who waits for an earlier block looks at this one later, or, after an error, never.
    answered.promise.catch(() => {})
    this.#pending.set(slot, { thread, rawBytes, answered })
    thread.jobCount += 1
    const job: CompressJob = { slot, rawBytes }
    thread.worker.postMessage(job)
    return answered.promise
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#threads.map(({ worker }) => worker.terminate()))
  }

  #start(): Thread {
    const worker = new Worker(new URL('./compress-worker.ts', import.meta.url), {
      workerData: this.#memory,
      // Whatever this process was started with is not for a thread: `--eval` for example would have it not start.
      execArgv: [],
      resourceLimits: { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 4 },
    })
    worker.on('message', (answer: CompressedJob) => this.#finish(answer))
    worker.on('error', (cause) => this.#fail(cause))
    worker.on('exit', () => this.#fail(undefined))
    return { worker, jobCount: 0 }
  }

  #finish({ slot, storedBytes }: CompressedJob): void {
    const pending = this.#pending.get(slot)
    if (pending === undefined) return
    this.#pending.delete(slot)
    pending.thread.jobCount -= 1
    const isRaw = storedBytes === pending.rawBytes
    const from = isRaw ? inputOf(this.#memory, slot) : outputOf(this.#memory, slot)
    pending.answered.resolve({ stored: from.subarray(0, storedBytes), digest: digestOf(this.#memory, slot) })
  }

  #fail(cause: unknown): void {
    this.#failure ??= new RametError('INTERNAL', { message: 'a thread that compressed memory has ended', cause })
    for (const { answered } of this.#pending.values()) answered.reject(this.#failure)
    this.#pending.clear()
  }
}
