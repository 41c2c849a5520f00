/** Checkpoints that are being restored, each open once however many restores it has. */
import { RametError } from '../../shared/errors.ts'
import { FileSource, type RangeSource } from '../file/range-source.ts'
import { Checkpoint } from '../file/read.ts'
import type { OpenCheckpoint } from './block-store.ts'
import { DelayedSource } from './delayed-source.ts'
import type { RestoreRequest } from './protocol.ts'

type Wanted = Pick<RestoreRequest, 'checkpoint' | 'digest' | 'storeDelayMs'>

interface Entry {
  readonly opened: Promise<OpenCheckpoint & AsyncDisposable>
  userCount: number
}

export class OpenCheckpoints {
  readonly #entries = new Map<string, Entry>()

  /**
   * @returns the checkpoint, to be disposed of by this user; it is closed when the last one has
   * @throws RametError `NOT_FOUND`, `CHECKPOINT_DAMAGED`, `CHECKPOINT_UNFIT`; what the source throws
   */
  async acquire(wanted: Wanted): Promise<OpenCheckpoint & AsyncDisposable> {
    const key = JSON.stringify([wanted.checkpoint, wanted.digest, wanted.storeDelayMs])
    const entry = this.#entries.get(key) ?? { opened: open(wanted), userCount: 0 }
    entry.userCount += 1
    this.#entries.set(key, entry)
    const release = async () => {
      entry.userCount -= 1
      if (entry.userCount > 0) return
      this.#entries.delete(key)
      const opened = await entry.opened.catch(() => undefined)
      await opened?.[Symbol.asyncDispose]()
    }
    try {
      const { checkpoint, source, loads } = await entry.opened
      return { checkpoint, source, loads, [Symbol.asyncDispose]: release }
    } catch (error) {
      await release()
      throw error
    }
  }
}

async function open({ checkpoint, digest, storeDelayMs }: Wanted): Promise<OpenCheckpoint & AsyncDisposable> {
  const opened = await openSource(checkpoint)
  try {
    const source = storeDelayMs > 0 ? new DelayedSource(opened, storeDelayMs) : opened
    const loads = new Set<Promise<unknown>>()
    const close = async () => {
      // A thread may still read by the descriptor, whose number the next file would get.
      await Promise.allSettled(loads)
      await opened[Symbol.asyncDispose]()
    }
    return { checkpoint: await Checkpoint.open(source, { digest }), source, loads, [Symbol.asyncDispose]: close }
  } catch (error) {
    await opened[Symbol.asyncDispose]()
    throw error
  }
}

async function openSource(checkpoint: RestoreRequest['checkpoint']): Promise<RangeSource & AsyncDisposable> {
  if ('path' in checkpoint) return FileSource.open(checkpoint.path)
  throw new RametError('INVALID_ARGUMENT', { message: 'checkpoints on other hosts cannot be served yet' })
}
