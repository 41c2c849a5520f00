import type { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import type { WaitOptions } from './deadline.ts'
import type { AgentSession } from './session.ts'
import type { Fields } from './wire/field-table.ts'

export type WatchAction = 'created' | 'modified' | 'removed' | 'renamed' | 'overflow'

export interface WatchEvent {
  /** `overflow`: events were lost, look for yourself; `path` is then empty */
  readonly action: WatchAction
  readonly path: string
}

export interface Watch extends AsyncIterable<WatchEvent> {
  /** Ends the watch; leaving a `for await` early does the same. */
  close(): void
}

const recursive = 1
const actions: readonly string[] = ['created', 'modified', 'removed', 'renamed', 'overflow']

/**
 * Watches a file or directory in the guest; resolves once it is watched. Protocol version 2.
 *
 * @param options `signal` ends the opening, and later the watch; `timeoutMs` is for the opening
 * @throws RametError `GUEST_REFUSED`, or as `AgentSession.request`; the iteration throws what ended the stream
 */
export async function watchPath(
  session: AgentSession,
  path: string,
  { recursive: deep, ...wait }: WaitOptions & { recursive?: boolean } = {},
): Promise<Watch> {
  const events = new EventQueue()
  const shape = { lasting: true, onEvent: (event: Fields) => events.push(event) }
  const stream = await session.openStream('watch', { path, flags: deep ? recursive : 0 }, shape, wait)
  const close = () => stream.reset()
  wait.signal?.addEventListener('abort', close, { once: true })
  void stream.ended.then((error) => {
    wait.signal?.removeEventListener('abort', close)
    events.end(error)
  })
  return { close, [Symbol.asyncIterator]: () => iterate(events, close) }
}

async function* iterate(events: EventQueue, close: () => void): AsyncGenerator<WatchEvent, void, void> {
  try {
    for (let event = await events.next(); event !== undefined; event = await events.next()) yield event
  } finally {
    close()
  }
}

/** Events have no flow control: past `limits.watchQueueCount` they are dropped, and one `overflow` says so. */
class EventQueue {
  #events: WatchEvent[] = []
  #wake: (() => void) | undefined
  #ended = false
  #error: RametError | undefined

  push({ op, action, path }: Fields): void {
    if (op !== 'file' || action === undefined || !actions.includes(action)) return
    const dropped = this.#events.length >= limits.watchQueueCount
    if (dropped) this.#events.length = 0
    this.#events.push(dropped ? { action: 'overflow', path: '' } : { action: action as WatchAction, path: path ?? '' })
    this.#wake?.()
  }

  end(error: RametError | undefined): void {
    this.#ended = true
    this.#error = error
    this.#wake?.()
  }

  async next(): Promise<WatchEvent | undefined> {
    while (true) {
      const event = this.#events.shift()
      if (event !== undefined) return event
      if (this.#error !== undefined) throw this.#error
      if (this.#ended) return undefined
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }
}
