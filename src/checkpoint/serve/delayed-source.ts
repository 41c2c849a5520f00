import { type Clock, systemClock } from '../../shared/clock.ts'
import type { RangeSource } from '../file/range-source.ts'

/** A store that takes longer for each read, as one far away would; reads wait beside one another. */
export class DelayedSource implements RangeSource {
  readonly #source: RangeSource
  readonly #delayMs: number
  readonly #clock: Clock

  constructor(source: RangeSource, delayMs: number, clock: Clock = systemClock) {
    this.#source = source
    this.#delayMs = delayMs
    this.#clock = clock
  }

  get name(): string {
    return this.#source.name
  }

  get sizeBytes(): number | undefined {
    return this.#source.sizeBytes
  }

  async readRange(offsetBytes: number, lengthBytes: number, signal?: AbortSignal): Promise<Buffer> {
    await this.#clock.sleep(this.#delayMs, signal)
    return this.#source.readRange(offsetBytes, lengthBytes, signal)
  }
}
