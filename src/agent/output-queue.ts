import { emptyPayload } from './wire/frame.ts'

/** What a process or file has to say, in order: bytes at their offset in the channel, or the channel's end. */
export type OutputItem =
  | { readonly kind: 'data'; readonly channel: 1 | 2; readonly offset: number; readonly bytes: Buffer }
  | { readonly kind: 'eof'; readonly channel: 1 | 2; readonly offset: number }

const smallBytes = 4096
const slabBytes = 16 * 1024
/** from here on pieces of a channel are gathered across those of the other, at the cost of their order */
const crowdedCount = 256

/** A queued item that small pieces may still be appended to, while `room` is above `bytes`. */
interface Entry {
  readonly kind: 'data' | 'eof'
  readonly channel: 1 | 2
  readonly offset: number
  bytes: Buffer
  /** where `bytes` lies at the beginning of, when it is ours */
  room: Buffer | undefined
}

/**
 * Items that have arrived and wait for their one consumer. Flow control bounds the bytes; small pieces are
 * gathered, so that a guest which sends single bytes cannot make each cost an object and a frame's memory.
 */
export class OutputQueue implements AsyncIterable<OutputItem> {
  #entries: Entry[] = []
  /** by channel: the newest entry, if it is still queued */
  #newest: (Entry | undefined)[] = []
  #wake: (() => void) | undefined
  #ended = false
  #error: unknown

  push(item: OutputItem): void {
    if (this.#ended) return
    if (!(item.kind === 'data' && this.#gather(item.channel, item.bytes))) this.#append(item)
    this.#signal()
  }

  /** Nothing follows. What is queued is still delivered, then `error` is thrown, if there is one. */
  end(error?: unknown): void {
    if (this.#ended) return
    this.#ended = true
    this.#error = error
    this.#signal()
  }

  /** The next item, or undefined at the end. One call at a time. */
  async next(): Promise<OutputItem | undefined> {
    while (true) {
      const entry = this.#entries.shift()
      if (entry !== undefined) {
        if (this.#newest[entry.channel] === entry) this.#newest[entry.channel] = undefined
        const { kind, channel, offset, bytes } = entry
        return kind === 'data' ? { kind, channel, offset, bytes } : { kind, channel, offset }
      }
      if (this.#ended) {
        if (this.#error !== undefined) throw this.#error
        return undefined
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<OutputItem, void, void> {
    for (let item = await this.next(); item !== undefined; item = await this.next()) yield item
  }

  #append(item: OutputItem): void {
    const { kind, channel, offset } = item
    const entry: Entry = { kind, channel, offset, bytes: emptyPayload, room: undefined }
    if (item.kind === 'data' && item.bytes.length < smallBytes) {
      // Only a backlog is worth a slab; the lone piece of a quiet stream is a copy of its own size.
      entry.room = Buffer.allocUnsafeSlow(this.#entries.length > 0 ? slabBytes : item.bytes.length)
      entry.bytes = entry.room.subarray(0, item.bytes.copy(entry.room))
    } else if (item.kind === 'data') entry.bytes = item.bytes
    this.#entries.push(entry)
    this.#newest[channel] = entry
  }

  #gather(channel: 1 | 2, bytes: Buffer): boolean {
    const newest = this.#newest[channel]
    if (newest?.room === undefined || newest.bytes.length + bytes.length > newest.room.length) return false
    if (this.#entries.at(-1) !== newest && this.#entries.length < crowdedCount) return false
    const fill = newest.bytes.length + bytes.copy(newest.room, newest.bytes.length)
    newest.bytes = newest.room.subarray(0, fill)
    return true
  }

  #signal(): void {
    this.#wake?.()
    this.#wake = undefined
  }
}
