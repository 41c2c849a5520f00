import { assert } from './assert.ts'

/** Lets at most so many do something at once; the others wait, first come, first served. */
export class Turns {
  readonly #waiting: (() => void)[] = []
  #free: number

  constructor(count: number) {
    assert(Number.isInteger(count) && count > 0, 'at least one at once')
    this.#free = count
  }

  /**
   * Waits for a turn. It ends when the result is disposed of.
   *
   * @throws the signal's reason, then there is no turn to be ended
   */
  async take(signal?: AbortSignal): Promise<Disposable> {
    signal?.throwIfAborted()
    if (this.#free > 0) this.#free -= 1
    else await this.#wait(signal)
    let isOver = false
    return {
      [Symbol.dispose]: () => {
        if (isOver) return
        isOver = true
        // Handed on, not freed: nobody who comes now overtakes those who wait.
        const next = this.#waiting.shift()
        if (next === undefined) this.#free += 1
        else next()
      },
    }
  }

  async #wait(signal: AbortSignal | undefined): Promise<void> {
    const turn = Promise.withResolvers<void>()
    const come = () => turn.resolve()
    const leave = () => {
      const index = this.#waiting.indexOf(come)
      if (index < 0) return
      this.#waiting.splice(index, 1)
      turn.reject(signal?.reason)
    }
    this.#waiting.push(come)
    signal?.addEventListener('abort', leave, { once: true })
    try {
      await turn.promise
    } finally {
      signal?.removeEventListener('abort', leave)
    }
  }
}
