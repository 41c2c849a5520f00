/** A small client of the exec WebSocket, for tests: keeps what it got, and says what it was told to. */
import { once } from 'node:events'
import type { WebSocket } from 'ws'
import {
  type ClientMessageInput,
  decodeDataFrame,
  encodeDataFrame,
  type OutputChannel,
  ServerMessage,
} from '../../api/exec-socket.ts'

type Message<T extends ServerMessage['type']> = Extract<ServerMessage, { type: T }>

export class TestExecClient {
  readonly socket: WebSocket
  readonly messages: ServerMessage[] = []
  readonly got: Record<OutputChannel, Buffer[]> = { stdout: [], stderr: [] }
  readonly offset: Record<OutputChannel, number>
  /** acknowledge what comes, at once */
  acknowledges = true
  /** why the protocol was broken, if it was */
  fault: string | undefined

  constructor(socket: WebSocket, have: Record<OutputChannel, number> = { stdout: 0, stderr: 0 }) {
    this.socket = socket
    this.offset = { ...have }
    socket.on('message', (data: Buffer, isBinary) => {
      if (isBinary) this.#data(data)
      else this.messages.push(ServerMessage.parse(JSON.parse(data.toString('utf8'))))
      socket.emit('progress')
    })
    socket.on('error', () => {})
    socket.on('close', () => socket.emit('progress'))
  }

  #data(bytes: Buffer): void {
    const frame = decodeDataFrame(bytes)
    if (frame === undefined || frame.channel === 'stdin') {
      this.fault = 'not an output frame'
      return
    }
    const { channel, offset, data } = frame
    if (offset !== this.offset[channel]) this.fault = `${channel}: ${offset} after ${this.offset[channel]}`
    this.got[channel].push(Buffer.from(data))
    this.offset[channel] = offset + data.length
    if (this.acknowledges) this.say({ type: 'ack', channel, offset: this.offset[channel] })
  }

  async opened(): Promise<this> {
    await once(this.socket, 'open')
    return this
  }

  say(message: ClientMessageInput): void {
    this.socket.send(JSON.stringify(message))
  }

  input(offset: number, data: Uint8Array): void {
    this.socket.send(encodeDataFrame({ channel: 'stdin', offset, data }))
  }

  /** The first message of this type, as soon as there is one. */
  async message<T extends ServerMessage['type']>(type: T, matches: (message: Message<T>) => boolean = () => true) {
    for (;;) {
      const found = this.messages.find((message): message is Message<T> => message.type === type)
      const all = this.messages.filter((message): message is Message<T> => message.type === type)
      const match = all.find(matches)
      if (found !== undefined && match !== undefined) return match
      if (this.socket.readyState === this.socket.CLOSED) throw new Error(`closed before “${type}” came`)
      await once(this.socket, 'progress')
    }
  }

  async outputReaches(channel: OutputChannel, bytes: number): Promise<void> {
    while (this.offset[channel] < bytes) await once(this.socket, 'progress')
  }

  async closed(): Promise<number> {
    if (this.socket.readyState === this.socket.CLOSED) return 0
    const [code] = (await once(this.socket, 'close')) as [number]
    return code
  }
}
