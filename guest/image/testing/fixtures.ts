/** What the tests of this room share: a place to work, a workshop without a network, small inputs. */
import { spawn } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { commandRunner, openBuildLog } from '../command.ts'
import { toolPath } from '../host-tools.ts'
import type { Workshop } from '../workshop.ts'

export interface TestPlace extends AsyncDisposable {
  readonly dir: string
  readonly imagesDir: string
  /** as a build has it, with a kernel that is a name only */
  shop(signal?: AbortSignal): Workshop
  /** resolves when a build reports this stage */
  reported(stage: string): Promise<void>
}

export async function testPlace(): Promise<TestPlace> {
  const dir = await mkdtemp(join(tmpdir(), 'ramet-image-'))
  const imagesDir = join(dir, 'images')
  await mkdir(imagesDir)
  const log = await openBuildLog(join(dir, 'log'))
  const stages = new EventEmitter()
  return {
    dir,
    imagesDir,
    async reported(stage) {
      await once(stages, stage)
    },
    shop: (signal) => ({
      context: { imagesDir, cacheDir: dir, ...(signal === undefined ? {} : { signal }) },
      run: commandRunner(log, signal),
      runAlways: commandRunner(log),
      kernel: { release: '6.1.0-0-test', version: '6.1-0', debPath: '/nonexistent' },
      agentDir: dir,
      agentDigest: 'a'.repeat(64),
      report: (stage) => stages.emit(stage),
    }),
    async [Symbol.asyncDispose]() {
      await log[Symbol.asyncDispose]()
      await rm(dir, { recursive: true, force: true })
    },
  }
}

/** Runs a program with some input; resolves with its standard output. */
export function runTool(command: string, args: readonly string[], input?: Buffer): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], env: { PATH: toolPath, TZ: 'UTC' } })
    let output = ''
    let errors = ''
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString()
    })
    child.stderr.on('data', (chunk: Buffer) => {
      errors += chunk.toString()
    })
    child.once('error', reject)
    child.once('close', (code) => (code === 0 ? resolve(output) : reject(new Error(`${command}: ${code} ${errors}`))))
    child.stdin.on('error', () => undefined)
    child.stdin.end(input)
  })
}
