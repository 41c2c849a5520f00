import { limits } from '../../shared/limits.ts'
import type { Runtimes } from './runtimes.ts'

/**
 * Moves the consoles of running VMs to their files every few seconds: what a QEMU holds when it is killed, for
 * instance by the kernel for want of memory, is what one wants to read afterwards.
 */
export class ConsoleSweep {
  readonly #runtimes: Pick<Runtimes, 'list'>
  #timer: NodeJS.Timeout | undefined
  #sweeping = false

  constructor(runtimes: Pick<Runtimes, 'list'>) {
    this.#runtimes = runtimes
  }

  start(everyMs: number = limits.consoleSweepMs): void {
    this.#timer = setInterval(() => void this.sweep(), everyMs).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** One after another, and not again before the last round is over: a QEMU that hangs delays, and piles up nothing. */
  async sweep(): Promise<void> {
    if (this.#sweeping) return
    this.#sweeping = true
    try {
      // A console that cannot be read is that of a QEMU that is going; whoever ends it reads what is left.
      for (const { console, qemu } of this.#runtimes.list()) await console.drain(qemu).catch(() => {})
    } finally {
      this.#sweeping = false
    }
  }
}
