import { constants } from 'node:os'
import { FakeProcess } from './process.ts'
import type { FakeStream } from './stream.ts'

const einval = constants.errno.EINVAL

/** The process table of a fake guest, and the operations on it. */
export class FakeProcessTable {
  readonly processes = new Map<number, FakeProcess>()
  #nextId = 1

  async start(stream: FakeStream): Promise<void> {
    const process = await FakeProcess.start(this.#nextId, stream.request)
    this.#nextId += 1
    this.processes.set(process.processId, process)
    attach(stream, process)
  }

  attach(stream: FakeStream): void {
    const process = this.find(stream)
    if (process !== undefined) attach(stream, process)
  }

  wait(stream: FakeStream): void {
    const process = this.find(stream)
    if (process === undefined) return
    const answer = () => stream.respond(process.exit ?? {})
    if (process.exit === undefined) process.child.once('exit', answer)
    else answer()
  }

  /** The process that the request names, or undefined after refusing. */
  find(stream: FakeStream): FakeProcess | undefined {
    const process = this.processes.get(stream.request.processId ?? 0)
    if (process === undefined) stream.respond({ errno: constants.errno.ESRCH, message: 'no such process' })
    return process
  }

  killAll(): void {
    for (const { child, exit } of this.processes.values()) if (exit === undefined) child.kill('SIGKILL')
  }
}

function attach(stream: FakeStream, process: FakeProcess): void {
  const { stdoutOffset, stderrOffset } = stream.request
  process.channels[1].drop(stdoutOffset ?? 0)
  process.channels[2].drop(stderrOffset ?? 0)
  for (const channel of [1, 2] as const) stream.startAt(channel, process.channels[channel].start)
  const { stdinOffset } = process
  const offsets = { stdinOffset, stdoutOffset: stream.sent(1), stderrOffset: stream.sent(2) }
  const { processId, exit } = process
  stream.respond({ processId, pid: process.child.pid, state: exit ? 'exited' : 'running', ...offsets, ...exit })
  const ended = { 1: false, 2: false }
  const pump = () => {
    for (const channel of [1, 2] as const) {
      const output = process.channels[channel]
      const from = stream.sent(channel) - output.start
      stream.send(channel, output.kept.subarray(from, from + Math.max(0, stream.room(channel))))
      if (output.ended && stream.sent(channel) === output.end && !ended[channel]) {
        ended[channel] = true
        stream.eof(channel)
      }
    }
    if (process.exit === undefined || !ended[1] || !ended[2] || stream.over) return
    stream.event({ op: 'exit', ...process.exit })
    stream.end()
  }
  stream.onAck = (channel, count) => {
    process.channels[channel].drop(count)
    pump()
  }
  stream.onOver = () => {
    if (process.onChange === pump) process.release()
  }
  takeStdin(stream, process)
  process.onChange = pump
  for (const channel of [1, 2] as const) process.channels[channel].settle()
  pump()
}

function takeStdin(stream: FakeStream, process: FakeProcess): void {
  stream.onData = (offset, bytes) => {
    if (offset > process.stdinOffset) return stream.reset(einval, 'a gap in stdin')
    const fresh = bytes.subarray(process.stdinOffset - offset)
    // Node's pipe keeps what it was given, so here accepting and passing on are one.
    process.stdinOffset += fresh.length
    const count = process.stdinOffset
    process.child.stdin?.write(fresh, (error) => {
      if (!error) stream.ack(count)
    })
    return undefined
  }
  stream.onEof = () => process.child.stdin?.end()
}
