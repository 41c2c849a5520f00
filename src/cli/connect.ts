import { resolve } from 'node:path'
import { Ramet } from '../client/index.ts'
import { defaultDataDirectory } from '../client/settings.ts'
import type { GlobalValues } from './context.ts'
import { ensureDaemon } from './daemon/start.ts'
import type { Io } from './io.ts'
import { daemonProgram } from './programs.ts'

/**
 * The daemon that a command line means: by --url, or that of the data directory, which is started when
 * none runs. Nothing is started behind an address.
 */
export async function connectDaemon(
  globals: GlobalValues,
  context: { io: Io; quiet: boolean; signal: AbortSignal },
): Promise<Ramet> {
  const { io, quiet, signal } = context
  const url = globals.url ?? (globals.dataDir === undefined ? io.env.RAMET_API_URL || undefined : undefined)
  if (url !== undefined) return new Ramet({ url, token: io.env.RAMET_API_KEY })
  const dataDirectory = resolve(globals.dataDir ?? defaultDataDirectory(io.env))
  return new Ramet({
    dataDirectory,
    onUnreachable: () =>
      ensureDaemon({
        dataDirectory,
        program: daemonProgram(),
        signal,
        onStarted: (pid, logPath) => {
          if (!quiet) io.stderr.write(`ramet: started the daemon (pid ${pid}, log ${logPath})\n`)
        },
      }),
  })
}
