import { localError } from '../client/errors.ts'
import { formatDuration } from './format.ts'

type Handler = (signal: 'SIGINT' | 'SIGTERM') => void

/** Turns Ctrl-C and SIGTERM into an abort of what is under way; a second one ends the process at once. */
export class Interrupts {
  readonly #exit: (code: number) => void
  #controller = new AbortController()
  #timer: NodeJS.Timeout | undefined
  #handlers: Handler[] = []
  /** what came, if something came */
  received: 'SIGINT' | 'SIGTERM' | undefined

  constructor(exit: (code: number) => void) {
    this.#exit = exit
  }

  /** A signal for one command, which also aborts after `timeoutMs`. */
  begin(timeoutMs: number | undefined): AbortSignal {
    this.#controller = new AbortController()
    this.received = undefined
    if (timeoutMs !== undefined)
      this.#timer = setTimeout(() => {
        this.#controller.abort(localError('TIMEOUT', `not done after ${formatDuration(timeoutMs)}`))
      }, timeoutMs)
    return this.#controller.signal
  }

  end(): void {
    clearTimeout(this.#timer)
    this.#handlers = []
  }

  /** Gives signals to the command instead, until the function returned is called. */
  take(handler: Handler): () => void {
    this.#handlers.push(handler)
    return () => {
      this.#handlers = this.#handlers.filter((other) => other !== handler)
    }
  }

  /** whether a command has taken the signals for itself */
  get taken(): boolean {
    return this.#handlers.length > 0
  }

  receive(signal: 'SIGINT' | 'SIGTERM'): void {
    const handler = this.#handlers.at(-1)
    if (handler !== undefined) {
      handler(signal)
      return
    }
    if (this.received !== undefined) {
      this.#exit(signal === 'SIGINT' ? 130 : 143)
      return
    }
    this.received = signal
    this.#controller.abort(localError('CANCELLED', 'interrupted'))
  }
}
