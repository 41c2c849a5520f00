import { RametError } from '../shared/errors.ts'
import { type ExitStatus, readExit, waitForProcess } from './proc.ts'
import type { AgentSession } from './session.ts'
import type { LinkStream, StreamShape } from './stream.ts'
import type { Fields } from './wire/field-table.ts'

/** Learns how a process ended: from the `exit` event, or in version 1 by asking. */
export class ExitWatch {
  readonly shape: StreamShape
  readonly promise: Promise<ExitStatus>
  readonly #session: AgentSession
  readonly #exit = Promise.withResolvers<ExitStatus>()
  #waited: ExitStatus | undefined

  constructor(session: AgentSession) {
    this.#session = session
    this.promise = this.#exit.promise
    this.promise.catch(() => {})
    this.shape = {
      lasting: true,
      sends: true,
      receives: [1, 2],
      starts: ({ stdinOffset, stdoutOffset, stderrOffset, offset }) => ({
        0: stdinOffset,
        1: stdoutOffset,
        2: stderrOffset,
        acked: offset,
      }),
      onEvent: (event, stream) => this.#takeEvent(event, stream),
      onEof: (stream) => this.#endVersion1(stream),
    }
  }

  watch(stream: LinkStream, processId: number, answer: Fields): void {
    void stream.ended.then((error) => this.#exit.reject(error ?? released()))
    if (this.#session.version >= 2) return
    const known = readExit(answer)
    const ended = known === undefined ? waitForProcess(this.#session, processId) : Promise.resolve(known)
    ended.then(
      (exit) => {
        this.#waited = exit
        this.#endVersion1(stream)
      },
      (error) => stream.end(error),
    )
  }

  #takeEvent(event: Fields, stream: LinkStream): void {
    if (event.op !== 'exit') return
    const exit = readExit(event)
    if (exit === undefined || !stream.receivedAll) {
      stream.reset(new RametError('AGENT_PROTOCOL', { message: 'the guest agent sent an exit that is not one' }))
      return
    }
    this.#exit.resolve(exit)
    stream.end()
  }

  #endVersion1(stream: LinkStream): void {
    if (this.#waited === undefined || !stream.receivedAll) return
    this.#exit.resolve(this.#waited)
    stream.reset()
  }
}

/** Why the stream of a process ended, when we let go of it ourselves. */
export function released(): RametError {
  return new RametError('AGENT_LINK_LOST', { message: 'let go of the process' })
}
