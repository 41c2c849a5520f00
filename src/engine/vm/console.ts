import { appendFile, mkdir, readFile, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { nodeNames } from '../../qemu/machine.ts'
import type { QemuProcess } from '../../qemu/process.ts'
import { errnoOf } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import { Mutex } from '../mutex.ts'

const fileName = 'console.log'

/** The console of a vm: what QEMU has kept of it is moved to a file of bounded size whenever somebody asks. */
export class ConsoleLog {
  readonly #dir: string
  readonly #path: string
  readonly #reads = new Mutex()
  #droppedBytes = 0

  /** @param dir a directory that only the daemon writes to */
  constructor(dir: string) {
    this.#dir = dir
    this.#path = join(dir, fileName)
  }

  /** Moves what QEMU holds to the file. A QEMU that has gone took its newest lines along. */
  drain(qemu: QemuProcess): Promise<void> {
    return this.#reads.run(async () => {
      const text = await readRing(qemu).catch(() => '')
      if (text.length === 0) return
      await mkdir(this.#dir, { recursive: true, mode: 0o700 })
      await appendFile(this.#path, Buffer.from(text, 'base64'), { mode: 0o600 })
      const { size } = await stat(this.#path)
      if (size > limits.consoleBytes) await this.#shorten(size)
    })
  }

  /** All that is kept. */
  async read(): Promise<Buffer> {
    return (await this.readFrom(0)).bytes
  }

  /**
   * What came at or after a position, and the position of what comes next. Positions count all bytes ever,
   * so that they mean the same after older ones were dropped.
   */
  readFrom(position: number): Promise<{ bytes: Buffer; end: number }> {
    return this.#reads.run(async () => {
      const kept = await this.#readAll()
      return {
        bytes: kept.subarray(Math.max(0, position - this.#droppedBytes)),
        end: this.#droppedBytes + kept.length,
      }
    })
  }

  /** The last lines as text, without control characters: for errors. */
  async tail(lineCount: number = limits.consoleTailLines): Promise<string[]> {
    return lastLines((await this.read()).toString('utf8'), lineCount)
  }

  clear(): Promise<void> {
    return this.#reads.run(async () => {
      this.#droppedBytes += (await this.#readAll()).length
      await truncate(this.#path).catch(() => {})
    })
  }

  async #readAll(): Promise<Buffer> {
    try {
      return await readFile(this.#path)
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return Buffer.alloc(0)
      throw error
    }
  }

  /** Keeps the newer half, so that shortening is rare. */
  async #shorten(size: number): Promise<void> {
    const content = await readFile(this.#path)
    const dropped = size - limits.consoleBytes / 2
    await writeFile(this.#path, content.subarray(dropped))
    this.#droppedBytes += dropped
  }
}

async function readRing(qemu: QemuProcess): Promise<string> {
  return qemu.qmp.execute<string>('ringbuf-read', {
    device: nodeNames.console,
    size: 4 * limits.consoleBytes,
    format: 'base64',
  })
}

/** Lines before a panic that say what led to it. */
const panicLeadLines = 8

/**
 * The lines that tell most: the last ones; but a panic's stack trace can be longer than that, so when it
 * pushed the panic itself out, the lines around that one. Escape sequences and control characters are taken out.
 */
export function lastLines(text: string, lineCount: number): string[] {
  const plain = text
    // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are what is looked for
    .replace(/\u001b(\[[0-9;?]*[ -/]*[@-~]|[@-Z\\-_])/g, '')
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is taken out
    .replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, '')
  const lines = plain.split('\n').filter((line) => line.trim().length > 0)
  if (lineCount === 0) return []
  const panic = lines.findLastIndex((line) => line.includes('Kernel panic'))
  const tailStart = Math.max(0, lines.length - lineCount)
  const start = panic < 0 ? tailStart : Math.min(tailStart, Math.max(0, panic - panicLeadLines))
  return lines.slice(start, start + lineCount)
}

/** The last lines as they came; a last one that has no end yet counts. */
export function tailOf(content: Buffer, lineCount: number): Buffer {
  if (lineCount === 0) return content.subarray(content.length)
  // A newline at the very end closes the last line; it does not begin another.
  let at = content.at(-1) === 0x0a ? content.length - 1 : content.length
  for (let found = 0; found < lineCount; found += 1) {
    at = at === 0 ? -1 : content.lastIndexOf(0x0a, at - 1)
    if (at < 0) return content
  }
  return content.subarray(at + 1)
}
