import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { repositoryRoot } from '../../tools/rules/source.ts'
import { environmentOf } from './environment.ts'
import { type Listener, listen } from './listener.ts'

const run = promisify(execFile)

/** Addresses for documentation, which no real network has; a pair for each file of tests that runs just now. */
const pair = freePair()
export const outsideAddress = `198.51.100.${pair + 2}`
export const hostAddress = `198.51.100.${pair + 1}`
/** A link-local address that the host itself does reach. */
export const linkLocalAddress = `169.254.77.${pair + 2}`

function freePair(): number {
  const taken = new Set(Object.values(networkInterfaces()).flatMap((all) => all?.map(({ address }) => address)))
  const pairs = Array.from({ length: 60 }, (_, index) => ((process.pid + index) % 60) * 4)
  const free = pairs.find((first) => !taken.has(`198.51.100.${first + 1}`))
  if (free === undefined) throw new Error('all addresses for tests are taken')
  return free
}

/**
 * A world outside: a network namespace behind a pair of cables, with servers in it, and servers of the same port on
 * the host. All say who came.
 */
export class Outside {
  readonly port: number
  /** who came to the servers outside, in order, such as `udp text` */
  readonly visits: string[] = []
  /** who came to those of the host: nobody should */
  readonly intrusions: string[] = []
  readonly #name: string
  readonly #listener: Listener
  #server: ChildProcess | undefined
  #told: (() => void)[] = []

  private constructor(name: string, listener: Listener, intrusions: string[]) {
    this.#name = name
    this.#listener = listener
    this.port = listener.port
    this.intrusions = intrusions
  }

  static async open(): Promise<Outside> {
    const name = `ramet${process.pid}`
    const intrusions: string[] = []
    const outside = new Outside(name, await listen(0, (contact) => void intrusions.push(contact)), intrusions)
    try {
      await outside.#connect()
      await outside.#serve()
      return outside
    } catch (error) {
      await outside.close()
      throw error
    }
  }

  /** Resolves when somebody has come outside who fits. */
  async visited(fits: (visit: string) => boolean, signal: AbortSignal): Promise<void> {
    while (!this.visits.some(fits)) {
      signal.throwIfAborted()
      await new Promise<void>((resolve, reject) => {
        this.#told.push(resolve)
        signal.addEventListener('abort', () => reject(new Error(`only ${this.visits.join(', ') || 'nobody'} came`)))
      })
    }
  }

  async close(): Promise<void> {
    this.#server?.kill('SIGKILL')
    await this.#listener.close()
    // The pair of cables ends with the namespace.
    await ip('netns', 'delete', this.#name)
  }

  async #connect(): Promise<void> {
    const near = `${this.#name}h`
    const far = `${this.#name}o`
    await ip('netns', 'add', this.#name)
    await ip('link', 'add', near, 'type', 'veth', 'peer', 'name', far, 'netns', this.#name)
    await ip('address', 'add', `${hostAddress}/30`, 'dev', near)
    await ip('link', 'set', near, 'up')
    await ip('-n', this.#name, 'address', 'add', `${outsideAddress}/30`, 'dev', far)
    await ip('-n', this.#name, 'address', 'add', `${linkLocalAddress}/32`, 'dev', far)
    await ip('-n', this.#name, 'link', 'set', far, 'up')
    await ip('route', 'add', `${linkLocalAddress}/32`, 'via', outsideAddress, 'dev', near)
  }

  async #serve(): Promise<void> {
    const program = join(repositoryRoot, 'test/support/listener.ts')
    const args = ['netns', 'exec', this.#name, process.execPath, program, String(this.port), '0.0.0.0']
    const server = spawn('ip', args, { stdio: ['ignore', 'pipe', 'inherit'], env: environmentOf('/') })
    this.#server = server
    const ready = Promise.withResolvers<void>()
    server.once('exit', () => ready.reject(new Error('the server outside has ended')))
    createInterface(server.stdout).on('line', (line) => {
      if (line === 'listening') ready.resolve()
      else this.visits.push(line)
      for (const tell of this.#told.splice(0)) tell()
    })
    await ready.promise
  }
}

async function ip(...args: string[]): Promise<void> {
  await run('ip', args, { env: environmentOf('/') })
}
