import { capLog } from '../../qemu/qemu-log.ts'
import { asRametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import type { EngineContext } from '../context.ts'
import type { Runtimes } from '../vm/runtimes.ts'

/** Keeps the logs of running QEMUs short: a guest can make its QEMU complain as often as it likes. */
export class LogSweep {
  readonly #context: Pick<EngineContext, 'log'>
  readonly #runtimes: Pick<Runtimes, 'list'>
  #timer: NodeJS.Timeout | undefined

  constructor(context: Pick<EngineContext, 'log'>, runtimes: Pick<Runtimes, 'list'>) {
    this.#context = context
    this.#runtimes = runtimes
  }

  start(everyMs: number = limits.vmmLogSweepMs): void {
    this.#timer = setInterval(() => this.sweep(), everyMs).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  sweep(): void {
    for (const { vmId, qemu } of this.#runtimes.list()) {
      try {
        if (capLog(qemu.dir)) this.#context.log.info({ vm: vmId }, 'the log of a QEMU was too long and was emptied')
      } catch (error) {
        this.#context.log.warn(
          { vm: vmId, error: asRametError(error).message },
          'the log of a QEMU cannot be kept short',
        )
      }
    }
  }
}
