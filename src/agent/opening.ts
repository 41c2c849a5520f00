import type { Clock } from '../shared/clock.ts'
import { RametError } from '../shared/errors.ts'
import { race } from './deadline.ts'
import { need } from './guest-error.ts'
import type { Transport } from './transport.ts'
import { FrameDecoder } from './wire/decoder.ts'
import type { Fields } from './wire/field-table.ts'
import { decodeFields, encodeFields } from './wire/fields.ts'
import { badFrame, encodeHeader, type Frame, frameType } from './wire/frame.ts'
import { containsGuard, marker, nonceBytes, OpeningScanner } from './wire/marker.ts'

/** Pauses before each repeat of an opening, milliseconds; the last one goes on. */
export type OpeningSchedule = readonly number[]

/** A guest that is booting: nobody reads until its agent has started. */
export const bootSchedule: OpeningSchedule = [1000]

/** A guest that has just been resumed: what is written before QEMU resumes is lost. */
export const resumeSchedule: OpeningSchedule = [250, 500, 1000, 2000]

/** The same, of one whose memory has yet to come: each repeat would have an answer on its way thrown away. */
export const restoreSchedule: OpeningSchedule = [2000, 4000]

export interface VersionRange {
  readonly versionMin: number
  readonly versionMax: number
}

/** What the agent says of itself and of its guest when a session begins. */
export interface Welcome {
  readonly version: number
  readonly features: readonly string[]
  readonly agentBuild: string
  readonly bootId: string
  /** how often this guest has been given an identity */
  readonly generation: number
  readonly initMode: string
  /** guest's wall clock, nanoseconds since 1970 */
  readonly timeNs: bigint
  readonly monotonicNs: bigint
  /** host's monotonic clock when the opening was written and when its answer came, milliseconds */
  readonly openedAtMs: number
  readonly welcomedAtMs: number
}

const fromGuest: ReadonlySet<number> = new Set([
  frameType.welcome,
  frameType.response,
  frameType.event,
  frameType.data,
  frameType.ack,
  frameType.eof,
  frameType.reset,
  frameType.bye,
])

export interface OpeningOptions {
  readonly versions: VersionRange
  readonly features: readonly string[]
  readonly clock: Clock
  readonly random: (bytes: number) => Buffer
  /** called with the welcome, before anything that follows it is decoded */
  readonly onWelcome: (welcome: Welcome) => void
  /** takes the frames that follow the welcome */
  readonly onFrame: (frame: Frame) => void
}

/**
 * Opens one session on a transport: writes marker, nonce and `HELLO`, again on a schedule until an answer to any of
 * them comes, and drops what arrives before the answer to the *last* one. What the host writes after that is read
 * after the last opening, so no opening still under way can end the session behind its back.
 */
export class Opening {
  readonly welcome: Promise<Welcome>
  readonly #options: OpeningOptions
  readonly #transport: Transport
  readonly #welcome = Promise.withResolvers<Welcome>()
  readonly #repeat = new AbortController()
  #scanner: OpeningScanner | undefined = new OpeningScanner()
  #decoder: FrameDecoder
  #nonces: Buffer[] = []
  #openedAtMs = 0
  #welcomed = false

  constructor(transport: Transport, options: OpeningOptions) {
    this.#transport = transport
    this.#options = options
    this.#decoder = new FrameDecoder(fromGuest, (frame) => this.#takeFrame(frame))
    this.welcome = this.#welcome.promise
    this.welcome.catch(() => {})
  }

  /** Writes the opening until it is answered. @throws the signal's reason, or why the answer is not acceptable */
  async run(schedule: OpeningSchedule, signal: AbortSignal): Promise<Welcome> {
    const repeating = this.#writeUntilAnswered(schedule, AbortSignal.any([signal, this.#repeat.signal]))
    try {
      return await race(this.welcome, signal)
    } finally {
      this.#repeat.abort()
      await repeating
    }
  }

  /** @throws RametError `AGENT_PROTOCOL` at a framing error in the session */
  takeBytes(chunk: Buffer): void {
    let rest = chunk
    while (this.#scanner !== undefined) {
      const found = this.#scanner.push(rest, (nonce) => this.#nonces.some((own) => own.equals(nonce)))
      if (found === undefined) return
      rest = found.rest
      // The guest reads: an opening written earlier has arrived, so the last one will.
      this.#repeat.abort()
      if (this.#nonces.at(-1)?.equals(found.nonce)) this.#scanner = undefined
    }
    this.#decoder.push(rest)
  }

  fail(error: RametError): void {
    this.#decoder.stop()
    this.#repeat.abort()
    this.#welcome.reject(error)
  }

  async #writeUntilAnswered(schedule: OpeningSchedule, signal: AbortSignal): Promise<void> {
    for (let count = 0; !signal.aborted; count += 1) {
      this.#write()
      const pauseMs = schedule[Math.min(count, schedule.length - 1)] ?? 1000
      await this.#options.clock.sleep(pauseMs, signal).catch(() => {})
    }
  }

  #write(): void {
    const { versions, features, clock, random } = this.#options
    let nonce = random(nonceBytes)
    while (containsGuard(nonce)) nonce = random(nonceBytes)
    this.#nonces.push(nonce)
    const payload = encodeFields({ ...versions, feature: features })
    const header = encodeHeader({ type: frameType.hello, channel: 0, stream: 0, offset: 0, payload })
    this.#openedAtMs = clock.monotonicMs()
    this.#transport.write(marker, nonce, header, payload)
  }

  #takeFrame(frame: Frame): void {
    if (this.#welcomed) {
      this.#options.onFrame(frame)
      return
    }
    if (frame.type !== frameType.welcome) throw badFrame(`the frame type ${frame.type} before its welcome`)
    this.#welcomed = true
    const welcome = this.#readWelcome(decodeFields(frame.payload))
    this.#options.onWelcome(welcome)
    this.#welcome.resolve(welcome)
  }

  #readWelcome(fields: Fields): Welcome {
    const { versionMin, versionMax } = this.#options.versions
    const version = fields.version ?? 0
    if (fields.errno !== 0 || version < versionMin || version > versionMax) {
      throw new RametError('AGENT_PROTOCOL', {
        message:
          `the guest agent speaks protocol versions ${fields.versionMin ?? '?'} to ${fields.versionMax ?? '?'}` +
          `, this host ${versionMin} to ${versionMax}` +
          (fields.errno === 0 ? `; the agent chose ${version}` : ''),
        details: {
          guest: { versionMin: fields.versionMin ?? null, versionMax: fields.versionMax ?? null },
          host: { versionMin, versionMax },
        },
      })
    }
    return {
      version,
      features: fields.feature ?? [],
      agentBuild: fields.agentBuild ?? '',
      bootId: need(fields.bootId, 'bootId'),
      generation: fields.generation ?? 0,
      initMode: fields.initMode ?? 'agent',
      timeNs: need(fields.timeNs, 'timeNs'),
      monotonicNs: fields.monotonicNs ?? 0n,
      openedAtMs: this.#openedAtMs,
      welcomedAtMs: this.#options.clock.monotonicMs(),
    }
  }
}
