/**
 * The daemon: takes the data directory's lock, opens the engine, serves it until told to stop. VMs run on
 * without it; the next daemon adopts them.
 */

import { mkdirSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import process from 'node:process'
import { parseArgs } from 'node:util'
import { pino } from 'pino'
import { lockDaemon } from '../cluster/daemon-lock.ts'
import { openEngine } from '../engine/open.ts'
import { resolveSettings } from '../engine/settings.ts'
import { asRametError } from '../shared/errors.ts'
import { rametVersion } from '../shared/version.ts'
import { startServer } from './server.ts'
import { readOrMakeToken } from './token.ts'

const { values: flags } = parseArgs({
  options: {
    'data-dir': { type: 'string' },
    http: { type: 'string' },
    'log-level': { type: 'string' },
  },
})

async function main(): Promise<void> {
  const settings = resolveSettings({ dataDir: flags['data-dir'], http: flags.http, logLevel: flags['log-level'] })
  const log = pino({ level: settings.logLevel, base: null })
  mkdirSync(settings.dataDir, { recursive: true, mode: 0o711 })
  const lock = lockDaemon(settings.dataDir, {
    pid: process.pid,
    since: new Date().toISOString(),
    version: rametVersion,
  })
  await writeFile(join(settings.dataDir, 'daemon.pid'), `${process.pid}\n`)
  const stopped = untilStopped()
  const { engine, idempotency } = await openEngine(settings, log)
  const server = await startServer({
    engine,
    idempotency,
    log,
    socketPath: join(settings.dataDir, 'ramet.sock'),
    ...(settings.httpPort === undefined
      ? {}
      : {
          http: {
            host: '127.0.0.1',
            port: settings.httpPort,
            token: await readOrMakeToken(join(settings.dataDir, 'token')),
          },
        }),
  })
  log.info({ socket: server.socketPath, http: server.address ?? null }, 'serving')
  log.info({ signal: await stopped }, 'stopping; vms run on')
  await server.close()
  await engine.stop()
  lock.release()
}

function untilStopped(): Promise<string> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve(signal))
  })
}

main().then(
  () => process.exit(0),
  (thrown: unknown) => {
    const error = asRametError(thrown)
    const why = error.code === 'INTERNAL' ? { err: thrown } : {}
    pino({ base: null }).fatal({ ...why, code: error.code, remediation: error.remediation }, error.message)
    process.exit(error.kind.exitCode)
  },
)
