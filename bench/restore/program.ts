import { AgentProcess } from '../../src/agent/process.ts'
import type { AgentSession } from '../../src/agent/session.ts'

/** A program in a guest that is told a line and answers one. It survives its guest's capture, and is found again in each restored one. */
export class Program {
  readonly #process: AgentProcess
  readonly #lines: string[] = []
  #rest = ''
  /** of output read, which a later attachment begins at */
  #offset: number
  #failure: Error | undefined
  #wake = Promise.withResolvers<void>()

  private constructor(process: AgentProcess, signal: AbortSignal) {
    this.#process = process
    this.#offset = process.startOffsets.stdout
    signal.addEventListener('abort', () => this.#fail(signal.reason), { once: true })
    void this.#read()
  }

  static async start(session: AgentSession, args: readonly string[], signal: AbortSignal): Promise<Program> {
    return new Program(await AgentProcess.start(session, { args, detached: true, user: 'root', signal }), signal)
  }

  static async attach(session: AgentSession, place: ProgramPlace, signal: AbortSignal): Promise<Program> {
    const { processId, stdoutOffset } = place
    return new Program(await AgentProcess.attach(session, { processId, stdoutOffset, signal }), signal)
  }

  /** Where it is found in a guest that goes on from here. */
  get place(): ProgramPlace {
    return { processId: this.#process.processId, stdoutOffset: this.#offset }
  }

  /** The words of its next line. @throws what the process ended with, or the link; the signal's reason */
  async next(): Promise<string[]> {
    for (;;) {
      const line = this.#lines.shift()
      if (line !== undefined) return line.split(' ')
      if (this.#failure !== undefined) throw this.#failure
      await this.#wake.promise
    }
  }

  async ask(line: string): Promise<string[]> {
    await this.#process.writeStdin(Buffer.from(`${line}\n`))
    return await this.next()
  }

  async #read(): Promise<void> {
    let errors = ''
    try {
      for await (const item of this.#process.output) {
        if (item.kind === 'eof') continue
        this.#process.ack(item.channel, item.offset + item.bytes.length)
        if (item.channel === 2) errors += item.bytes.toString()
        else this.#take(item.offset + item.bytes.length, item.bytes.toString())
      }
      this.#fail(new Error(`the program in the guest has ended: ${errors.slice(-500)}`))
    } catch (error) {
      this.#fail(error)
    }
  }

  #fail(error: unknown): void {
    this.#failure ??= error instanceof Error ? error : new Error(String(error))
    this.#wake.resolve()
  }

  #take(offset: number, text: string): void {
    this.#offset = offset
    const lines = (this.#rest + text).split('\n')
    this.#rest = lines.pop() ?? ''
    this.#lines.push(...lines)
    this.#wake.resolve()
    this.#wake = Promise.withResolvers()
  }
}

export interface ProgramPlace {
  processId: number
  stdoutOffset: number
}
