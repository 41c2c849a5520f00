/**
 * The page server: a process of its own, one for each data directory, that outlives the daemon. It ends when there is
 * nothing to do for a while.
 */
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { pino } from 'pino'
import { tryLock } from '../../host/file-lock.ts'
import { openCache } from '../../opportunistic/open-cache.ts'
import { asRametError, RametError } from '../../shared/errors.ts'
import { blockCacheBytes, blockCacheVariable, cachedBlockBytes } from './block-cache-size.ts'
import { socketName } from './protocol.ts'
import { PageServer } from './server.ts'

async function main(): Promise<void> {
  const [dataDir = ''] = process.argv.slice(2)
  // Whatever is made here is for nobody else.
  process.umask(0o177)
  const lockFd = openSync(join(dataDir, 'page-server.lock'), 'a', 0o600)
  if (!tryLock(lockFd)) throw new RametError('DAEMON_RUNNING', { message: `a page server already runs on ${dataDir}` })
  const log = pino({ base: { pid: process.pid } })
  const capacityBytes = blockCacheBytes(process.env[blockCacheVariable])
  const cache = await openCache({ capacityBytes, blockBytes: cachedBlockBytes, log })
  const server = new PageServer({ socketPath: join(dataDir, socketName), log, cache })
  const stopped = untilStopped(() => {
    if (server.unfinishedCount === 0) return true
    log.warn(
      { unfinished: server.unfinishedCount },
      'told to end, but guests need their memory; stays until they have it',
    )
    return false
  })
  await server.listen()
  log.info({ cache: cache.kind, capacityBytes: cache.figures().capacityBytes }, 'serving')
  await Promise.race([server.idle, stopped, server.broken])
  await server.close()
  log.info({}, 'nothing left to do')
  closeSync(lockFd)
}

/** @param mayStop asked at each signal */
function untilStopped(mayStop: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const)
      process.on(signal, () => {
        if (mayStop()) resolve()
      })
  })
}

main().then(
  () => process.exit(0),
  (thrown: unknown) => {
    const error = asRametError(thrown)
    const why = error.code === 'INTERNAL' ? { err: thrown } : {}
    pino({ base: { pid: process.pid } }).fatal({ ...why, code: error.code }, error.message)
    process.exit(error.kind.exitCode)
  },
)
