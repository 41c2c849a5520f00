/** One request for a range of bytes, with everything that the answer says checked. */
import { causeChain, RametError } from '../../shared/errors.ts'

/** A failure after which the same request may succeed. */
export class PassingFailure extends Error {
  override readonly name = 'PassingFailure'
}

export interface RangeRequest {
  readonly offsetBytes: number
  /** at least 1 */
  readonly lengthBytes: number
  readonly headers: Readonly<Record<string, string>>
  /** without a byte from the server */
  readonly timeoutMs: number
  readonly signal: AbortSignal | undefined
}

export interface RangeAnswer {
  /** as many as asked for, or up to the end */
  readonly bytes: Buffer
  /** of the whole */
  readonly sizeBytes: number
  /** undefined when the server tells none */
  readonly etag: string | undefined
}

const passingStatus = (status: number) => status === 408 || status === 429 || status >= 500

/**
 * @param name of the resource, for messages
 * @throws PassingFailure; RametError `NOT_FOUND`, `FORBIDDEN`, `CHECKPOINT_UNREACHABLE`; the signal's reason
 */
export async function fetchRange(url: URL, name: string, request: RangeRequest): Promise<RangeAnswer> {
  const { offsetBytes, lengthBytes, timeoutMs, signal } = request
  using patience = new Patience(timeoutMs)
  const both = signal === undefined ? patience.signal : AbortSignal.any([signal, patience.signal])
  let response: Response | undefined
  try {
    response = await fetch(url, {
      headers: {
        ...request.headers,
        // With it `fetch` asks for what is not compressed on the way: that has other lengths than its ranges say.
        range: `bytes=${offsetBytes}-${offsetBytes + lengthBytes - 1}`,
      },
      // Who was asked to read from one address does not go to others for it: the answer is looked at as it is.
      redirect: 'manual',
      signal: both,
    })
    patience.renew()
    const promised = checkHead(response, name, request)
    const bytes = await readBody(response, promised.bodyBytes, patience)
    return { bytes, sizeBytes: promised.sizeBytes, etag: response.headers.get('etag') ?? undefined }
  } catch (error) {
    // Whatever is left of the answer is not waited for.
    patience.end()
    await response?.body?.cancel().catch(() => {})
    signal?.throwIfAborted()
    if (patience.isOver) throw new PassingFailure(`nothing came for ${timeoutMs} ms`)
    if (error instanceof RametError || error instanceof PassingFailure) throw error
    throw new PassingFailure(causeChain(error) ?? String(error), { cause: error })
  }
}

interface Promised {
  readonly bodyBytes: number
  readonly sizeBytes: number
}

/** @returns what the head says of the body, which is what was asked for */
function checkHead(response: Response, name: string, { offsetBytes, lengthBytes }: RangeRequest): Promised {
  const { status, headers } = response
  const range = headers.get('content-range') ?? ''
  if (passingStatus(status)) throw new PassingFailure(`the server answered ${status}`)
  if (status === 404 || status === 410)
    throw new RametError('NOT_FOUND', { message: `there is no checkpoint at ${name} (${status})` })
  if (status === 401 || status === 403) throw forbidden(name, status)
  if (status === 416) return checkBehindEnd(range, name, offsetBytes)
  if (status === 200) throw unusable(name, 'sends the whole file instead of a range')
  if (status !== 206) throw unusable(name, `answers ${status}`)
  const encoding = headers.get('content-encoding') ?? 'identity'
  if (encoding !== 'identity') throw unusable(name, `sends it compressed (${encoding.slice(0, 40)})`)
  const [, first, last, total] = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/.exec(range)?.map(Number) ?? []
  if (first === undefined || last === undefined || total === undefined)
    throw unusable(name, `does not tell which bytes it sends (${range.slice(0, 80)})`)
  if (first !== offsetBytes || last + 1 !== Math.min(offsetBytes + lengthBytes, total))
    throw unusable(name, `sends other bytes than those asked for (${range})`)
  return { bodyBytes: last + 1 - first, sizeBytes: total }
}

/** Nothing is there to be sent. */
function checkBehindEnd(range: string, name: string, offsetBytes: number): Promised {
  const total = /^bytes \*\/(\d{1,15})$/.exec(range)?.[1]
  if (total === undefined || Number(total) > offsetBytes) throw unusable(name, 'refuses a range that it should have')
  return { bodyBytes: 0, sizeBytes: Number(total) }
}

async function readBody(response: Response, length: number, patience: Patience): Promise<Buffer> {
  if (length === 0) {
    await response.body?.cancel()
    return Buffer.alloc(0)
  }
  const bytes = Buffer.allocUnsafeSlow(length)
  let done = 0
  for await (const chunk of response.body ?? []) {
    patience.renew()
    if (done + chunk.length > length) throw new PassingFailure('the answer is longer than it said')
    bytes.set(chunk, done)
    done += chunk.length
  }
  if (done < length) throw new PassingFailure(`the answer ended after ${done} of ${length} bytes`)
  return bytes
}

/** Time that may pass until the next byte. */
class Patience implements Disposable {
  readonly #controller = new AbortController()
  readonly #timer: NodeJS.Timeout
  isOver = false

  constructor(timeoutMs: number) {
    this.#timer = setTimeout(() => {
      this.isOver = true
      this.#controller.abort()
    }, timeoutMs)
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  renew(): void {
    this.#timer.refresh()
  }

  end(): void {
    clearTimeout(this.#timer)
    this.#controller.abort()
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer)
  }
}

function unusable(name: string, what: string): RametError {
  return new RametError('CHECKPOINT_UNREACHABLE', {
    message: `${name} cannot be read in parts: its server ${what}`,
    remediation: 'Have it served by a server that answers Range requests, at its own address, as it is.',
    details: { address: name },
  })
}

function forbidden(name: string, status: number): RametError {
  return new RametError('FORBIDDEN', {
    message: `${name} may not be read (${status})`,
    remediation: 'Give a key that may read it.',
    details: { address: name },
  })
}
