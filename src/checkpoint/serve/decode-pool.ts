/**
 * Threads that read, check and decompress blocks, so that the thread that answers guests never does. One job a thread at
 * a time: what a guest waits for overtakes everything that is not begun.
 */
import { Worker } from 'node:worker_threads'
import { assert } from '../../shared/assert.ts'
import { RametError } from '../../shared/errors.ts'
import type { DecodeAnswer, DecodeJob } from './decode-job.ts'

/** `demand`: a guest stands still for it · `prefetch`: one will soon · `fill`: sometime. */
export const priorities = ['demand', 'prefetch', 'fill'] as const
export type Priority = (typeof priorities)[number]

interface Task {
  priority: Priority
  readonly job: DecodeJob
  readonly answered: PromiseWithResolvers<Buffer>
}

interface Thread {
  readonly worker: Worker
  task: Task | undefined
}

export class DecodePool implements AsyncDisposable {
  readonly #threads: Thread[]
  readonly #queued: Task[] = []
  /** rejects when a thread has died */
  readonly broken: Promise<never>
  readonly #broken = Promise.withResolvers<never>()
  #nextId = 1
  #isEnding = false
  #failure: RametError | undefined

  constructor(workerCount: number) {
    assert(workerCount >= 2, 'one for guests that wait, one for the rest')
    this.broken = this.#broken.promise
    this.broken.catch(() => {})
    this.#threads = Array.from({ length: workerCount }, () => this.#start())
  }

  /**
   * @returns the block's pages, one after another, in memory of its own, and a way to have it earlier
   * @throws RametError `CHECKPOINT_DAMAGED`; `INTERNAL` when reading fails or a thread died
   */
  decode(job: Omit<DecodeJob, 'id'>, priority: Priority): { raw: Promise<Buffer>; hasten: (to: Priority) => void } {
    const task: Task = { priority, job: { ...job, id: this.#nextId++ }, answered: Promise.withResolvers<Buffer>() }
    const raw = task.answered.promise
    // Looked at by whoever asked; nobody may be left when a restore was dropped.
    raw.catch(() => {})
    if (this.#failure !== undefined) task.answered.reject(this.#failure)
    else {
      this.#queued.push(task)
      this.#assign()
    }
    return { raw, hasten: (to) => this.#hasten(task, to) }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isEnding = true
    await Promise.all(this.#threads.map(({ worker }) => worker.terminate()))
  }

  #hasten(task: Task, to: Priority): void {
    if (priorities.indexOf(to) >= priorities.indexOf(task.priority)) return
    task.priority = to
    this.#assign()
  }

  #assign(): void {
    for (let task = this.#next(); task !== undefined; task = this.#next()) {
      const thread = this.#threads.find((candidate) => candidate.task === undefined)
      assert(thread !== undefined, 'a thread that has time')
      this.#queued.splice(this.#queued.indexOf(task), 1)
      thread.task = task
      const { stored } = task.job
      // What was read is of no use to anybody else.
      const moved = stored instanceof Uint8Array && isWhole(stored) ? [stored.buffer as ArrayBuffer] : []
      thread.worker.postMessage(task.job, moved)
    }
  }

  /** The most urgent of those that may begin now. */
  #next(): Task | undefined {
    const idle = this.#threads.filter(({ task }) => task === undefined).length
    if (idle === 0) return undefined
    for (const priority of priorities) {
      // The last idle thread is kept for a guest that waits.
      if (priority !== 'demand' && idle === 1) return undefined
      const task = this.#queued.find((candidate) => candidate.priority === priority)
      if (task !== undefined) return task
    }
    return undefined
  }

  #start(): Thread {
    const worker = new Worker(new URL('./decode-worker.ts', import.meta.url), { execArgv: [] })
    const thread: Thread = { worker, task: undefined }
    worker.on('message', (answer: DecodeAnswer) => this.#finish(thread, answer))
    worker.on('error', (cause) => this.#fail(cause))
    worker.on('exit', () => this.#fail(undefined))
    return thread
  }

  #finish(thread: Thread, answer: DecodeAnswer): void {
    const { task } = thread
    thread.task = undefined
    assert(task?.job.id === answer.id, 'a thread answers what it was asked')
    if ('error' in answer) task.answered.reject(new RametError(answer.error.code, answer.error))
    else task.answered.resolve(Buffer.from(answer.raw.buffer, answer.raw.byteOffset, answer.raw.length))
    this.#assign()
  }

  #fail(cause: unknown): void {
    this.#failure ??= new RametError('INTERNAL', { message: 'a thread that decompresses memory has ended', cause })
    if (!this.#isEnding) this.#broken.reject(this.#failure)
    for (const { task } of this.#threads) task?.answered.reject(this.#failure)
    for (const { answered } of this.#queued.splice(0)) answered.reject(this.#failure)
  }
}

function isWhole(bytes: Uint8Array): boolean {
  return bytes.byteOffset === 0 && bytes.buffer.byteLength === bytes.length
}
