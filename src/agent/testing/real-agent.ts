import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { AgentUnderTest } from './suite/context.ts'

const sources = fileURLToPath(new URL('../../../guest/agent', import.meta.url))

/** The agent of the guests, built from its sources. */
export class BuiltAgent implements AsyncDisposable {
  readonly #directory: string
  readonly #program: string

  private constructor(directory: string) {
    this.#directory = directory
    this.#program = join(directory, 'ramet-agent')
  }

  static async build(): Promise<BuiltAgent> {
    const agent = new BuiltAgent(await mkdtemp(join(tmpdir(), 'ramet-agent-build-')))
    await promisify(execFile)('make', ['-s', '-C', sources, `OUT=${agent.#program}`]).catch(async (error) => {
      await agent[Symbol.asyncDispose]()
      throw error
    })
    return agent
  }

  /** Starts it as a test on this host: on a socket, with its own files below `directory`, changing nothing. */
  async start(directory: string): Promise<AgentUnderTest> {
    const path = join(directory, 'agent.sock')
    const root = join(directory, 'root')
    for (const part of ['etc', 'run/ramet']) await mkdir(join(root, part), { recursive: true })
    const args = ['--socket', path, '--root', root, '--dry']
    const child = spawn(this.#program, args, { stdio: ['ignore', 'ignore', 'pipe'] })
    const ended = once(child, 'exit')
    const ready = new Promise<void>((resolve) => {
      let log = ''
      child.stderr.on('data', (chunk: Buffer) => {
        log = (log + chunk.toString()).slice(-1000)
        if (log.includes('ready')) resolve()
      })
    })
    await Promise.race([
      ready,
      ended.then(([code]) => {
        throw new Error(`the agent ended with ${code}`)
      }),
    ])
    return {
      path,
      async [Symbol.asyncDispose]() {
        child.kill('SIGTERM')
        const killed = setTimeout(() => child.kill('SIGKILL'), 2000)
        await ended
        clearTimeout(killed)
      },
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#directory, { recursive: true, force: true })
  }
}
