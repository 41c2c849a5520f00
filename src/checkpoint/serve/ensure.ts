/** Finding the page server of a data directory, or starting it. */
import type { ChildProcess } from 'node:child_process'
import { closeSync, existsSync, openSync, readFileSync, renameSync, statSync, watch } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import type { ProcessIdentity } from '../../host/process-identity.ts'
import { type SpawnDetached, spawnDetached } from '../../host/spawn-detached.ts'
import { errorTable, RametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import { PageServerClient } from './client.ts'
import { socketName } from './protocol.ts'

export interface EnsureOptions {
  /** must exist */
  readonly dataDir: string
  readonly spawn?: SpawnDetached
  /** told of each server process that this starts, before anything is asked of it: the journal's chance */
  readonly onSpawn?: (identity: ProcessIdentity) => void
  /** of a server that is started, beside PATH */
  readonly env?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal
}

/** A server that ended at once since another one had just begun; connecting finds that one. */
const lostRace = errorTable.DAEMON_RUNNING.exitCode

/**
 * Connects to the page server of a data directory and starts one where none runs. Several callers at once end up with
 * the same one.
 *
 * @throws RametError `DAEMON_UNREACHABLE` with the end of its log when it does not come up, `ILLEGAL_STATE` for one
 *   of another protocol; what the spawner throws; the signal's reason
 */
export async function ensurePageServer(options: EnsureOptions): Promise<PageServerClient> {
  const { dataDir } = options
  const deadline = AbortSignal.timeout(limits.pageServerStartTimeoutMs)
  const signal = options.signal === undefined ? deadline : AbortSignal.any([options.signal, deadline])
  const aborted = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
  let started: Started | undefined
  try {
    for (;;) {
      options.signal?.throwIfAborted()
      if (signal.aborted) throw notUp(dataDir, `does not come up within ${limits.pageServerStartTimeoutMs} ms`)
      // From before the attempt on, so that what happens in between is not missed.
      using changed = nextChange(dataDir)
      const client = await PageServerClient.connect(join(dataDir, socketName))
      if (client !== undefined) return client
      started ??= await start(options)
      const exitCode = await Promise.race([changed.promise, started.ended, aborted])
      if (exitCode === undefined) continue
      if (exitCode !== lostRace) throw notUp(dataDir, `ended with exit code ${exitCode}`)
      started = undefined
    }
  } finally {
    started?.child.unref()
  }
}

interface Started {
  readonly child: ChildProcess
  /** resolves with its exit code */
  readonly ended: Promise<number>
}

async function start(options: EnsureOptions): Promise<Started> {
  const logFd = openLog(options.dataDir)
  try {
    const { child, identity } = await (options.spawn ?? spawnDetached)({
      command: process.execPath,
      args: [...nodeOptions, programPath(), options.dataDir],
      stdio: ['ignore', logFd, logFd],
      env: options.env ?? {},
    })
    const ended = new Promise<number>((resolve) => child.once('exit', (code) => resolve(code ?? -1)))
    options.onSpawn?.(identity)
    child.ref()
    return { child, ended }
  } finally {
    closeSync(logFd)
  }
}

/**
 * Most of what the server allocates is pages on their way, outside of the heap. With the usual limits Node collects
 * garbage every few blocks for their sake, which took a third of its processor time.
 */
const nodeOptions = ['--max-semi-space-size=32', '--min-semi-space-size=16', '--heap-growing-percent=300']

/** In a checkout it is TypeScript, published JavaScript. */
function programPath(): string {
  const source = fileURLToPath(new URL('./main.ts', import.meta.url))
  return existsSync(source) ? source : source.replace(/\.ts$/, '.js')
}

/** Resolves at the next change in a directory. */
function nextChange(directory: string): Disposable & { promise: Promise<undefined> } {
  const change = Promise.withResolvers<undefined>()
  const watcher = watch(directory, () => change.resolve(undefined))
  watcher.on('error', () => change.resolve(undefined))
  return { promise: change.promise, [Symbol.dispose]: () => watcher.close() }
}

const logName = 'page-server.log'

/** What earlier servers wrote is kept, up to a limit. */
function openLog(dataDir: string): number {
  const path = join(dataDir, logName)
  if (existsSync(path) && statSync(path).size > limits.pageServerLogBytes) renameSync(path, `${path}.1`)
  return openSync(path, 'a', 0o600)
}

function notUp(dataDir: string, why: string): RametError {
  const path = join(dataDir, logName)
  const lines = existsSync(path) ? readFileSync(path, 'utf8').split('\n').filter(Boolean).slice(-logTailLines) : []
  return new RametError('DAEMON_UNREACHABLE', {
    message: `the page server of ${dataDir} ${why}`,
    remediation: `Look at ${path}.`,
    details: { logLines: lines },
  })
}

const logTailLines = 12
