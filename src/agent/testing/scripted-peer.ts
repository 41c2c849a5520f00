import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FrameDecoder } from '../wire/decoder.ts'
import type { Fields } from '../wire/field-table.ts'
import { decodeFields, encodeFields } from '../wire/fields.ts'
import { encodeHeader, type Frame, frameType } from '../wire/frame.ts'
import { marker, OpeningScanner } from '../wire/marker.ts'

const fromHost: ReadonlySet<number> = new Set([1, 3, 6, 7, 8, 9])

export interface PeerScript {
  /** fields of the welcome; undefined: does not answer this opening */
  welcome?: (hello: Fields, opening: number) => Fields | undefined
  /** called with each frame after the hello */
  onFrame?: (frame: Frame, peer: PeerConnection) => void
  /** called once the welcome is sent */
  onOpen?: (peer: PeerConnection) => void
}

export const defaultWelcome: Fields = {
  errno: 0,
  version: 2,
  agentBuild: 'fake',
  bootId: 'b00t',
  generation: 1,
  initMode: 'agent',
  timeNs: 0n,
  monotonicNs: 0n,
  versionMin: 1,
  versionMax: 2,
}

/** The agent's end of one connection. */
export class PeerConnection {
  readonly socket: Socket
  /** of the newest session */
  version = 0
  readonly #script: PeerScript
  #scanner: OpeningScanner = new OpeningScanner()
  #decoder: FrameDecoder | undefined
  #openings = 0

  constructor(socket: Socket, script: PeerScript) {
    this.socket = socket
    this.#script = script
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => this.#take(chunk))
  }

  write(frame: Partial<Frame> & { type: Frame['type'] }): void {
    this.socket.write(encodePeerFrame(frame))
  }

  respond(stream: number, fields: Fields = {}): void {
    this.write({ type: frameType.response, stream, payload: encodeFields({ errno: 0, ...fields }) })
  }

  #take(chunk: Buffer): void {
    // Only the test's own host is on the other side: one opening a chunk is enough to look for.
    const found = this.#scanner.push(chunk, () => true)
    if (found === undefined) {
      this.#decoder?.push(chunk)
      return
    }
    this.#openings += 1
    const opening = this.#openings
    let hello: Fields | undefined
    this.#decoder = new FrameDecoder(fromHost, (frame) => {
      if (hello === undefined) {
        hello = decodeFields(frame.payload)
        this.#answer(found.nonce, hello, opening)
      } else this.#script.onFrame?.(frame, this)
    })
    const rest = found.rest
    const again = rest.indexOf(marker)
    this.#decoder.push(again < 0 ? rest : rest.subarray(0, again))
    if (again >= 0) this.#take(rest.subarray(again))
  }

  #answer(nonce: Buffer, hello: Fields, opening: number): void {
    const welcome = this.#script.welcome === undefined ? defaultWelcome : this.#script.welcome(hello, opening)
    if (welcome === undefined) return
    this.version = welcome.version ?? 0
    this.socket.write(Buffer.concat([marker, nonce]))
    this.write({ type: frameType.welcome, payload: encodeFields(welcome) })
    this.#script.onOpen?.(this)
  }
}

export function encodePeerFrame(frame: Partial<Frame> & { type: Frame['type'] }): Buffer {
  const whole: Frame = { channel: 0, stream: 0, offset: 0, payload: Buffer.alloc(0), ...frame }
  return Buffer.concat([encodeHeader(whole), whole.payload])
}

/** A unix socket on which a scripted agent answers. Dispose of it to remove everything. */
export class ScriptedPeer implements AsyncDisposable {
  readonly path: string
  readonly connections: PeerConnection[] = []
  readonly #directory: string
  readonly #server: Server

  private constructor(directory: string, script: PeerScript) {
    this.#directory = directory
    this.path = join(directory, 'agent.sock')
    this.#server = createServer((socket) => this.connections.push(new PeerConnection(socket, script)))
  }

  static async listen(script: PeerScript = {}): Promise<ScriptedPeer> {
    const peer = new ScriptedPeer(await mkdtemp(join(tmpdir(), 'ramet-peer-')), script)
    await new Promise<void>((resolve) => peer.#server.listen(peer.path, resolve))
    return peer
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const connection of this.connections) connection.socket.destroy()
    await new Promise((resolve) => this.#server.close(resolve))
    await rm(this.#directory, { recursive: true, force: true })
  }
}
