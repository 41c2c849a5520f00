/**
 * The exec WebSocket: one connection, one process in a guest.
 *
 * Open `GET /v1/vms/{vm}/exec` and send `start` first; or open
 * `GET /v1/vms/{vm}/exec/{execId}/attach?stdout=<offset>&stderr=<offset>` with the number of bytes
 * that you already have of each output (0, the default, asks for all that the guest still keeps).
 * Either way the daemon's first message is `started`. Then:
 *
 * - Text frames are JSON, one message each: `ClientMessage` up, `ServerMessage` down.
 * - Binary frames carry data: 1 byte channel, 8 bytes offset (big-endian: position of the first
 *   data byte in its stream, bytes since the process began), then at least one byte of data.
 *
 * Nothing is lost or doubled when a connection, or the daemon, dies:
 * - Output. Send `ack` with the offset up to which you have *dealt with* the bytes; only then does the
 *   guest let go of them. At most `windowBytes` go unacknowledged per stream, then the process blocks
 *   on its write. Attach again with your offsets: what comes goes on exactly there. If the first frame
 *   of a stream begins later than asked (`started` names where), the guest no longer had the bytes
 *   between: only of a process nobody was attached to, whose output outgrew what is kept.
 * - Input. Keep what you sent until `stdin-ack` names an offset past it. On attaching, `started` names
 *   the offset that the guest expects; send again from there. Bytes below it are ignored, a gap above
 *   it is an error. At most `windowBytes` may be unacknowledged. `eof` is repeated after attaching.
 *
 * `exit` comes after all output; the daemon then closes with 1000 once the last byte is acknowledged.
 * If you close with 1000 before (or after `detach`), a detached process goes on and any other gets SIGHUP.
 * If the connection breaks, any process is kept for `limits.execReattachMs` so that you can attach again.
 * Errors come as `error`, then a close with `closeCodes.error`; `closeCodes.goingAway`: attach again.
 */
import { z } from 'zod'
import { assert } from '../shared/assert.ts'
import { Exec, ExecStart, PtySize, SignalName } from './exec.ts'
import { Problem } from './problem.ts'

export const execSubprotocol = 'ramet.exec.v1'

export const channels = { stdin: 0, stdout: 1, stderr: 2 } as const
export type Channel = keyof typeof channels
export type OutputChannel = 'stdout' | 'stderr'

export const closeCodes = {
  /** done: nothing more to say */
  normal: 1000,
  /** the daemon or the guest link goes away; attach again */
  goingAway: 1012,
  /** an `error` message came before */
  error: 4000,
} as const

export const dataHeaderBytes = 9

export interface DataFrame {
  channel: Channel
  /** position of the first data byte in its stream, bytes */
  offset: number
  data: Uint8Array
}

/** The nine bytes that go before the data. */
export function encodeDataFrame(frame: DataFrame): Uint8Array {
  assert(Number.isSafeInteger(frame.offset) && frame.offset >= 0, 'an offset is a count of bytes')
  const bytes = new Uint8Array(dataHeaderBytes + frame.data.length)
  bytes[0] = channels[frame.channel]
  new DataView(bytes.buffer).setBigUint64(1, BigInt(frame.offset))
  bytes.set(frame.data, dataHeaderBytes)
  return bytes
}

/** The frame in a binary message; undefined when it is none. `data` is a view, not a copy. */
export function decodeDataFrame(bytes: Uint8Array): DataFrame | undefined {
  if (bytes.length <= dataHeaderBytes) return undefined
  const channel = (Object.keys(channels) as Channel[]).find((name) => channels[name] === bytes[0])
  const offset = Number(new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getBigUint64(1))
  if (channel === undefined || !Number.isSafeInteger(offset + bytes.length)) return undefined
  return { channel, offset, data: bytes.subarray(dataHeaderBytes) }
}

const bytes = (what: string) => z.int().nonnegative().describe(`${what}, bytes since the process began.`)
const kind = <T extends string>(name: T, what: string) => z.literal(name).describe(what)

/** What the client says, as text frames. */
export const ClientMessage = z
  .discriminatedUnion('type', [
    z.strictObject({
      type: kind('start', 'Start a process: the first message of a connection that does not attach.'),
      exec: ExecStart,
    }),
    z.strictObject({ type: kind('resize', 'The terminal has a new size.'), ...PtySize.shape }),
    z.strictObject({ type: kind('signal', 'Send a signal to the process group.'), signal: SignalName }),
    z.strictObject({ type: kind('eof', 'There is no more input.'), offset: bytes('Length of the whole input') }),
    z.strictObject({
      type: kind('ack', 'Output has been dealt with; the guest may let go of it.'),
      channel: z.enum(['stdout', 'stderr']).describe('Which output.'),
      offset: bytes('End of what has been dealt with'),
    }),
    z.strictObject({ type: kind('detach', 'The process shall go on when this connection is closed.') }),
  ])
  .meta({ id: 'ExecClientMessage', description: 'What the client says on an exec WebSocket, as text frames.' })
export type ClientMessage = z.infer<typeof ClientMessage>
export type ClientMessageInput = z.input<typeof ClientMessage>

/** What the daemon says, as text frames. */
export const ServerMessage = z
  .discriminatedUnion('type', [
    z.object({
      type: kind('started', 'Started, or attached: the first message of the daemon.'),
      exec: Exec,
      stdinOffset: bytes('Next input that the guest expects'),
      stdoutOffset: bytes('Where output goes on; later than asked if the guest had to let go of some'),
      stderrOffset: bytes('Where error output goes on'),
      windowBytes: z.int().positive().describe('What may go unacknowledged, per stream and direction, bytes.'),
    }),
    z.object({
      type: kind('stdin-ack', 'The guest has this input; it need not be kept.'),
      offset: bytes('End of what the guest has'),
    }),
    z.object({
      type: kind('exit', 'The process has ended, and all its output has come.'),
      exitCode: z.int().optional().describe('Exit status, if it ended by itself.'),
      signal: SignalName.optional().describe('Signal that ended it.'),
      stdoutOffset: bytes('Length of all output'),
      stderrOffset: bytes('Length of all error output'),
    }),
    z.object({ type: kind('error', 'It cannot go on; a close follows.'), error: Problem }),
  ])
  .meta({ id: 'ExecServerMessage', description: 'What the daemon says on an exec WebSocket, as text frames.' })
export type ServerMessage = z.infer<typeof ServerMessage>
