import { Duplex } from 'node:stream'
import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import type { WaitOptions } from './deadline.ts'
import type { AgentSession } from './session.ts'
import type { LinkStream } from './stream.ts'

export interface TunnelOptions extends WaitOptions {
  /** address in the guest to connect to; default: its loopback, IPv4 then IPv6 */
  address?: string
}

/**
 * Connects to a TCP port as seen from inside the guest. The result can be half-closed in each direction, and is
 * destroyed with an `AGENT_LINK_LOST` error when the session ends.
 *
 * @throws RametError `GUEST_REFUSED` (`ECONNREFUSED`: nobody listens), or as `AgentSession.request`
 */
export async function openTunnel(session: AgentSession, port: number, options: TunnelOptions = {}): Promise<Duplex> {
  const { address, ...wait } = options
  const fields = { port, address: address === undefined ? undefined : [address] }
  const shape = { lasting: true, sends: true, receives: [1] as const }
  return new Tunnel(await session.openStream('tunnel', fields, shape, wait))
}

class Tunnel extends Duplex {
  readonly #stream: LinkStream
  #reading = false

  constructor(stream: LinkStream) {
    super({ allowHalfOpen: true, highWaterMark: limits.framePayloadBytes })
    this.#stream = stream
    void stream.ended.then((error) => {
      if (error !== undefined) this.destroy(error)
    })
  }

  override _read(): void {
    if (this.#reading) return
    this.#reading = true
    this.#pull().catch((error) => this.destroy(error))
  }

  /** Pushes until the reader has enough; what it has taken is acknowledged, so the guest waits with it. */
  async #pull(): Promise<void> {
    try {
      for (let wanted = true; wanted; ) {
        const item = await this.#stream.queue.next()
        if (item === undefined) return
        if (item.kind === 'eof') {
          this.push(null)
          this.#endIfDone()
          return
        }
        wanted = this.push(item.bytes)
        this.#stream.ack(1, item.offset + item.bytes.length)
      }
    } finally {
      this.#reading = false
    }
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#stream.send(chunk).then(() => done(), done)
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#stream.sendEof()
    this.#endIfDone()
    done()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#stream.reset(new RametError('CANCELLED', { message: 'the tunnel was closed' }))
    done(error)
  }

  #endIfDone(): void {
    if (this.#stream.receivedAll && this.#stream.sentAll) this.#stream.end()
  }
}
