import assert from 'node:assert/strict'

const chunkBytes = 1000
/** Chunks on their way at the same time. */
const windowChunks = 4

/** Something that answers with whatever it is told. */
export interface Echo {
  send(data: Buffer): unknown
  /** Ends it from this side. */
  close(): unknown
  /** resolves when it has ended, from whichever side; rejects when it broke */
  ended: Promise<unknown>
}

/**
 * Talks without end to something that echoes, some chunks ahead of the answer. Every byte must come back, once, in
 * its order.
 */
export class Conversation {
  readonly name: string
  #echo: Echo | undefined
  #sentBytes = 0
  #heardBytes = 0
  #failure: Error | undefined
  #stopping = false
  #told: (() => void)[] = []
  #talking: Promise<void> = Promise.resolve()

  private constructor(name: string) {
    this.name = name
  }

  /** `open` gets a function that is to be called with all that is heard. */
  static async begin(name: string, open: (hear: (data: Uint8Array) => void) => Promise<Echo>): Promise<Conversation> {
    const conversation = new Conversation(name)
    conversation.#echo = await open((data) => conversation.#hear(data))
    conversation.#watch(conversation.#echo)
    conversation.#talking = conversation.#talk().catch((error: Error) => conversation.#fail(error))
    return conversation
  }

  get heardBytes(): number {
    return this.#heardBytes
  }

  /** Resolves when more has come back than was sent so far. @throws when something came that was not sent */
  async goesOn(): Promise<void> {
    await this.#heard(this.#sentBytes + 1)
  }

  /** Sends no more, hears the rest, and ends. */
  async end(): Promise<void> {
    this.#stopping = true
    await this.#talking
    await this.#heard(this.#sentBytes)
    await this.#echo?.close()
    await this.#echo?.ended
    if (this.#failure !== undefined) throw this.#failure
    assert.equal(this.#heardBytes, this.#sentBytes, `${this.name}: as much is heard as was sent`)
  }

  #watch(echo: Echo): void {
    const broke = (why: unknown) => {
      if (!this.#stopping) this.#fail(new Error(`${this.name} ended after ${this.#heardBytes} bytes`, { cause: why }))
    }
    echo.ended.then(broke, broke)
  }

  async #talk(): Promise<void> {
    while (!this.#stopping && this.#failure === undefined) {
      const chunk = textAt(this.#sentBytes, chunkBytes)
      this.#sentBytes += chunk.length
      await this.#echo?.send(chunk)
      await this.#heard(this.#sentBytes - windowChunks * chunkBytes)
    }
  }

  #hear(data: Uint8Array): void {
    const expected = textAt(this.#heardBytes, data.length)
    if (Buffer.compare(data, expected) !== 0) {
      const [heard, wanted] = [data, expected].map((bytes) => Buffer.from(bytes).toString().slice(0, 80))
      this.#fail(new Error(`${this.name}: “${heard}” came after ${this.#heardBytes} bytes instead of “${wanted}”`))
    }
    this.#heardBytes += data.length
    this.#tell()
  }

  async #heard(bytes: number): Promise<void> {
    while (this.#failure === undefined && this.#heardBytes < bytes) {
      await new Promise<void>((resolve) => this.#told.push(resolve))
    }
    if (this.#failure !== undefined) throw this.#failure
  }

  #fail(error: Error): void {
    this.#failure ??= error
    this.#tell()
  }

  #tell(): void {
    for (const resolve of this.#told.splice(0)) resolve()
  }
}

/** An endless text of numbered lines of ten bytes, of which every part is told from every other. */
function textAt(offset: number, length: number): Buffer {
  const lineBytes = 10
  const first = Math.floor(offset / lineBytes)
  const lines = Array.from({ length: Math.ceil(length / lineBytes) + 1 }, (_, index) =>
    `${first + index}`.padStart(9, '.'),
  )
  return Buffer.from(`${lines.join('\n')}\n`).subarray(offset - first * lineBytes, offset - first * lineBytes + length)
}
