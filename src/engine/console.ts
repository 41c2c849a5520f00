import { appendFile, mkdir, readFile, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { nodeNames } from '../qemu/machine.ts'
import type { QemuProcess } from '../qemu/process.ts'
import { errnoOf } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { Mutex } from './mutex.ts'

const fileName = 'console.log'

/** The console of a vm: what QEMU has kept of it is moved to a file of bounded size whenever somebody asks. */
export class ConsoleLog {
  readonly #dir: string
  readonly #path: string
  readonly #reads = new Mutex()

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

  async read(): Promise<Buffer> {
    try {
      return await readFile(this.#path)
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return Buffer.alloc(0)
      throw error
    }
  }

  /** The last lines as text, without control characters: for errors. */
  async tail(lineCount: number = limits.consoleTailLines): Promise<string[]> {
    return lastLines((await this.read()).toString('utf8'), lineCount)
  }

  async clear(): Promise<void> {
    await truncate(this.#path).catch(() => {})
  }

  /** Keeps the newer half, so that shortening is rare. */
  async #shorten(size: number): Promise<void> {
    const content = await readFile(this.#path)
    await writeFile(this.#path, content.subarray(size - limits.consoleBytes / 2))
  }
}

async function readRing(qemu: QemuProcess): Promise<string> {
  return qemu.qmp.execute<string>('ringbuf-read', {
    device: nodeNames.console,
    size: 4 * limits.consoleBytes,
    format: 'base64',
  })
}

/** The last lines of a terminal's output, escape sequences and control characters taken out. */
export function lastLines(text: string, lineCount: number): string[] {
  const plain = text
    // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences are what is looked for
    .replace(/\u001b(\[[0-9;?]*[ -/]*[@-~]|[@-Z\\-_])/g, '')
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is taken out
    .replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, '')
  const lines = plain.split('\n').filter((line) => line.trim().length > 0)
  return lineCount === 0 ? [] : lines.slice(-lineCount)
}
