import { readSync } from 'node:fs'
import { limits } from '../shared/limits.ts'
import { pageBytes, type Run } from './base.ts'
import type { Delta } from './delta.ts'

const zeroPage = Buffer.alloc(pageBytes)

/** Pages that differ from a base, in whatever order they come. */
export class DeltaPages {
  readonly #baseFd: number
  readonly #pages = new Map<number, Buffer>()
  /** the part of the base that was read last; streams ascend but for a few pages */
  readonly #window = Buffer.allocUnsafeSlow(limits.collectBatchBytes)
  #windowOffset = -1

  constructor(baseFd: number) {
    this.#baseFd = baseFd
  }

  /** @param data one page, copied if it is kept; undefined for a page of zeros */
  add(offsetBytes: number, data: Buffer | undefined): void {
    const page = data ?? zeroPage
    if (this.#basePage(offsetBytes).equals(page)) return
    this.#pages.set(offsetBytes, data === undefined ? zeroPage : Buffer.from(data))
  }

  /** All of them, ascending, neighbours joined. */
  take(): Delta {
    const runs: Run[] = []
    const chunks: Buffer[] = []
    for (const [offsetBytes, data] of [...this.#pages].sort(([one], [other]) => one - other)) {
      chunks.push(data)
      const last = runs.at(-1)
      if (last !== undefined && last.offsetBytes + last.lengthBytes === offsetBytes)
        runs[runs.length - 1] = { offsetBytes: last.offsetBytes, lengthBytes: last.lengthBytes + pageBytes }
      else runs.push({ offsetBytes, lengthBytes: pageBytes })
    }
    this.#pages.clear()
    return { runs, bytes: Buffer.concat(chunks) }
  }

  #basePage(offsetBytes: number): Buffer {
    const start = offsetBytes - (offsetBytes % this.#window.length)
    if (start !== this.#windowOffset) {
      // Beyond the end of the base nothing is asked for, so what is not filled there is never looked at.
      for (let done = 0; done < this.#window.length; ) {
        const got = readSync(this.#baseFd, this.#window, done, this.#window.length - done, start + done)
        if (got === 0) break
        done += got
      }
      this.#windowOffset = start
    }
    return this.#window.subarray(offsetBytes - start, offsetBytes - start + pageBytes)
  }
}
