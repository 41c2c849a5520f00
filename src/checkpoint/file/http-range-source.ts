/** A checkpoint file on another host, read by ranges of its bytes over HTTP. */
import { setTimeout as delay } from 'node:timers/promises'
import { RametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import { Turns } from '../../shared/turns.ts'
import { damaged } from './damaged.ts'
import { fetchRange, PassingFailure } from './http-range.ts'
import type { RangeSource } from './range-source.ts'

export interface HttpRangeOptions {
  /** sent with each request: `authorization`, for example */
  readonly headers?: Readonly<Record<string, string>>
  /** requests at the same time; default `limits.rangeParallelCount` */
  readonly parallelCount?: number
  /** without a byte from the server before an attempt is given up; default `limits.rangeTimeoutMs` */
  readonly timeoutMs?: number
  /** of each read; default `limits.rangeAttemptCount` */
  readonly attemptCount?: number
  /** before the second attempt, twice as long before each further one; default `limits.rangeRetryMs` */
  readonly retryMs?: number
}

/**
 * Reads ranges of one resource and makes sure that it stays the same one: its size and, where the server tells one, its
 * ETag. Failures that pass (connections, time-outs, 408, 429, 5xx, answers that break off) are tried again. What is read is not
 * trusted by this: a checkpoint has checksums of all its parts.
 */
export class HttpRangeSource implements RangeSource {
  /** the address without its query, which may hold a key */
  readonly name: string
  readonly #url: URL
  readonly #options: Required<HttpRangeOptions>
  readonly #turns: Turns
  #sizeBytes: number | undefined
  #etag: string | undefined

  /** Asks nothing yet. @throws RametError `INVALID_ARGUMENT` for what is no plain http or https address */
  constructor(url: string, options: HttpRangeOptions = {}) {
    this.#url = parseAddress(url)
    this.name = `${this.#url.origin}${this.#url.pathname}`
    this.#options = {
      headers: options.headers ?? {},
      parallelCount: options.parallelCount ?? limits.rangeParallelCount,
      timeoutMs: options.timeoutMs ?? limits.rangeTimeoutMs,
      attemptCount: options.attemptCount ?? limits.rangeAttemptCount,
      retryMs: options.retryMs ?? limits.rangeRetryMs,
    }
    this.#turns = new Turns(this.#options.parallelCount)
  }

  /** Known from the first answer on. */
  get sizeBytes(): number | undefined {
    return this.#sizeBytes
  }

  /**
   * @returns those bytes; fewer only where the file ends before
   * @throws RametError `CHECKPOINT_UNREACHABLE` when the server cannot be used, or not within all attempts; `NOT_FOUND`,
   *   `FORBIDDEN`; `CHECKPOINT_DAMAGED` when the file is another one by now; the signal's reason
   */
  async readRange(offsetBytes: number, lengthBytes: number, signal?: AbortSignal): Promise<Buffer> {
    if (lengthBytes === 0) return Buffer.alloc(0)
    using _turn = await this.#turns.take(signal)
    const { attemptCount, retryMs } = this.#options
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#readOnce(offsetBytes, lengthBytes, signal)
      } catch (error) {
        signal?.throwIfAborted()
        if (!(error instanceof PassingFailure)) throw error
        if (attempt >= attemptCount) throw this.#unreachable(error, attempt)
      }
      await delay(retryMs * 2 ** (attempt - 1), undefined, signal === undefined ? {} : { signal }).catch(() => {})
      signal?.throwIfAborted()
    }
  }

  async #readOnce(offsetBytes: number, lengthBytes: number, signal: AbortSignal | undefined): Promise<Buffer> {
    const { headers, timeoutMs } = this.#options
    const answer = await fetchRange(this.#url, this.name, { offsetBytes, lengthBytes, headers, timeoutMs, signal })
    // That nothing is behind the end is told without saying of what.
    const etag = answer.bytes.length === 0 ? this.#etag : answer.etag
    const isSame = (this.#sizeBytes ?? answer.sizeBytes) === answer.sizeBytes && (this.#etag ?? etag) === etag
    if (!isSame) throw damaged(this.name, 'file', 'was exchanged for another one while it was read')
    this.#sizeBytes = answer.sizeBytes
    this.#etag = etag
    return answer.bytes
  }

  #unreachable(cause: PassingFailure, attempts: number): RametError {
    return new RametError('CHECKPOINT_UNREACHABLE', {
      message: `${this.name} could not be read in ${attempts} attempts: ${cause.message}`,
      cause,
      details: { address: this.name, attempts },
    })
  }
}

function parseAddress(text: string): URL {
  const url = URL.parse(text)
  const invalid = (why: string) => new RametError('INVALID_ARGUMENT', { message: `the address of a checkpoint ${why}` })
  if (url === null) throw invalid('is no URL')
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    throw invalid(`begins with ${url.protocol}//, not http:// or https://`)
  if (url.username !== '' || url.password !== '') throw invalid('has a user or password in it; send them as a header')
  url.hash = ''
  return url
}
