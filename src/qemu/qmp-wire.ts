import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'

/** What QEMU sends on a QMP socket, one JSON object a line. */
export type QmpMessage =
  | { kind: 'greeting'; capabilities: string[] }
  | { kind: 'return'; id: unknown; value: unknown }
  | { kind: 'error'; id: unknown; class: string; desc: string }
  | { kind: 'event'; event: QmpEvent }

export interface QmpEvent {
  readonly name: string
  readonly data: Readonly<Record<string, unknown>>
  /** wall clock of QEMU's host, milliseconds since the epoch */
  readonly timestampMs: number
}

const newline = 0x0a

/** Cuts a byte stream into lines, holding at most one message of bounded size. */
export class LineSplitter {
  readonly #maxBytes: number
  readonly #tooLong: (maxBytes: number) => Error
  #parts: Buffer[] = []
  #heldBytes = 0

  constructor(maxBytes: number = limits.qmpMessageBytes, tooLong = qmpMessageTooLong) {
    this.#maxBytes = maxBytes
    this.#tooLong = tooLong
  }

  /**
   * The lines that `chunk` completes, without their ends.
   *
   * @throws RametError `QMP_FAILED`, or what was given for it, when a line passes the limit
   */
  push(chunk: Buffer): string[] {
    const lines: string[] = []
    let from = 0
    for (let at = chunk.indexOf(newline); at >= 0; at = chunk.indexOf(newline, from)) {
      this.#hold(chunk.subarray(from, at))
      const line = Buffer.concat(this.#parts).toString('utf8').trim()
      this.#parts = []
      this.#heldBytes = 0
      if (line.length > 0) lines.push(line)
      from = at + 1
    }
    this.#hold(chunk.subarray(from))
    return lines
  }

  #hold(part: Buffer): void {
    if (part.length === 0) return
    this.#heldBytes += part.length
    if (this.#heldBytes > this.#maxBytes) throw this.#tooLong(this.#maxBytes)
    this.#parts.push(part)
  }
}

/** @throws RametError `QMP_FAILED` on anything that is not QMP */
export function parseQmpMessage(line: string): QmpMessage {
  const message = parseObject(line)
  if ('event' in message) return { kind: 'event', event: parseEvent(message) }
  if ('return' in message) return { kind: 'return', id: message.id, value: message.return }
  if ('error' in message) {
    const error = asRecord(message.error)
    return { kind: 'error', id: message.id, class: text(error.class, 'GenericError'), desc: text(error.desc, '') }
  }
  if ('QMP' in message) {
    const capabilities = asRecord(message.QMP).capabilities
    const names = Array.isArray(capabilities) ? capabilities.filter((name) => typeof name === 'string') : []
    return { kind: 'greeting', capabilities: names }
  }
  throw notQmp(line)
}

/** One command as QEMU reads it. An out-of-band one overtakes those that wait. */
export function encodeQmpCommand(command: string, args: object | undefined, id: number, oob: boolean): string {
  const message = { [oob ? 'exec-oob' : 'execute']: command, ...(args && { arguments: args }), id }
  return `${JSON.stringify(message)}\n`
}

function parseEvent(message: Record<string, unknown>): QmpEvent {
  const stamp = asRecord(message.timestamp)
  const seconds = typeof stamp.seconds === 'number' ? stamp.seconds : 0
  const microseconds = typeof stamp.microseconds === 'number' ? stamp.microseconds : 0
  return {
    name: text(message.event, ''),
    data: asRecord(message.data),
    timestampMs: seconds * 1000 + microseconds / 1000,
  }
}

function parseObject(line: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(line)
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
  } catch {
    // falls through: the same complaint for broken JSON and for JSON that is no object
  }
  throw notQmp(line)
}

const qmpMessageTooLong = (maxBytes: number): Error =>
  new RametError('QMP_FAILED', { message: `QEMU sent a message of more than ${maxBytes} bytes` })

const asRecord = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}

const text = (value: unknown, otherwise: string): string => (typeof value === 'string' ? value : otherwise)

const notQmp = (line: string) => new RametError('QMP_FAILED', { message: `not a QMP message: ${line.slice(0, 120)}` })
