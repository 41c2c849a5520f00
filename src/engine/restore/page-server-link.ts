import { blockCacheVariable } from '../../checkpoint/serve/block-cache-size.ts'
import type { Notice } from '../../checkpoint/serve/protocol.ts'
import { identify, isIdentity, isRunning, signalProcess, waitForExit } from '../../host/process-identity.ts'
import { asRametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import type { EngineContext } from '../context.ts'
import type { EngineSettings } from '../settings.ts'
import type { PageServer } from './page-server.ts'

/** Owner of the page server in the journal: it belongs to no vm. */
export const pageServerOwner = 'page-server'

/** The connection to the page server: made when somebody needs it, and again when it was lost. */
export class PageServerLink {
  readonly #context: EngineContext
  readonly #listeners = new Set<(notice: Notice) => void>()
  #connecting: Promise<PageServer> | undefined
  #current: PageServer | undefined

  constructor(context: EngineContext) {
    this.#context = context
  }

  /** @throws RametError `DAEMON_UNREACHABLE`, `ILLEGAL_STATE` for a server of another version */
  get(): Promise<PageServer> {
    if (this.#current !== undefined) return Promise.resolve(this.#current)
    this.#connecting ??= this.#connect().finally(() => {
      this.#connecting = undefined
    })
    return this.#connecting
  }

  /** That is connected; undefined while none is. */
  get current(): PageServer | undefined {
    return this.#current
  }

  onNotice(listener: (notice: Notice) => void): void {
    this.#listeners.add(listener)
  }

  /** Hangs up. @param end ends the server too, since nothing is left for it to do, and waits until it has */
  async stop(end: boolean): Promise<void> {
    const server = this.#current
    if (server === undefined) return
    const identity = end ? identify(server.pid) : undefined
    server.close()
    if (identity === undefined) return
    signalProcess(identity, 'SIGTERM')
    await waitForExit(identity, AbortSignal.timeout(limits.pageServerStartTimeoutMs)).catch(() => {})
  }

  async #connect(): Promise<PageServer> {
    const context = this.#context
    const { journal, log, pageServer, paths, settings, spawn } = context
    const [id = 0] = journal.intend([{ operation: 'serve', owner: pageServerOwner, kind: 'process', ident: {} }])
    let server: PageServer
    try {
      server = await pageServer({
        dataDir: paths.dataDir,
        spawn,
        env: environmentOf(settings),
        onSpawn: (identity) => journal.hold([{ id, ident: { ...identity } }]),
      })
    } catch (error) {
      journal.release([id])
      throw error
    }
    this.#current = server
    server.onNotice((notice) => {
      for (const listener of this.#listeners) listener(notice)
    })
    void server.closed.then(() => {
      if (this.#current === server) this.#current = undefined
      journalEnd(context, id, server.pid)
      log.info({ pid: server.pid }, 'the connection to the page server is over')
    })
    return server
  }
}

/** Nothing is inherited: the page server has no settings but these. */
function environmentOf({ blockCacheMiB }: EngineSettings): Record<string, string> {
  return blockCacheMiB === undefined ? {} : { [blockCacheVariable]: `${blockCacheMiB}` }
}

/** The journal knows of a server for as long as it runs. */
function journalEnd({ journal, log }: EngineContext, id: number, pid: number): void {
  try {
    if (identify(pid) === undefined) journal.release([id])
  } catch (error) {
    // The daemon is stopping, and its store is closed: the next one finds that the server has ended.
    log.debug({ error: asRametError(error).message }, 'the end of the page server was not written down')
  }
}

/** Forgets page servers that have ended. */
export function sweepPageServers({ journal }: EngineContext): void {
  const ended = journal.openOf(pageServerOwner).filter(({ ident }) => !isIdentity(ident) || !isRunning(ident))
  journal.release(ended.map(({ id }) => id))
}
