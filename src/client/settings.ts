import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import process from 'node:process'
import { RametError } from '../shared/errors.ts'

/** How to reach a daemon. What is left out comes from the environment, then from the defaults. */
export interface ConnectionOptions {
  /** Unix socket of the daemon. Default: `ramet.sock` in the data directory. */
  socketPath?: string | undefined
  /** Address of the daemon, `http://host:port` or `unix:/path`. Default: `RAMET_API_URL`. */
  url?: string | undefined
  /** Bearer token, needed over HTTP. Default: `RAMET_API_KEY`. */
  token?: string | undefined
  /** Data directory of the daemon, to find its socket. Default: `RAMET_DATA_DIR`. */
  dataDirectory?: string | undefined
}

/** Where requests go. */
export interface Target {
  /** socket that is connected to; absent when `url` is */
  socketPath?: string | undefined
  /** origin of the requests; of no meaning to the socket but needed by HTTP */
  url: URL
  token?: string | undefined
}

type Variables = Record<string, string | undefined>

export const socketFileName = 'ramet.sock'

/** The data directory that a daemon of this user has unless told otherwise, absolute: a daemon runs in `/`. */
export function defaultDataDirectory(env: Variables = process.env): string {
  if (env.RAMET_DATA_DIR) return resolve(env.RAMET_DATA_DIR)
  if (process.getuid?.() === 0) return '/var/lib/ramet'
  return resolve(env.XDG_DATA_HOME || join(env.HOME || homedir(), '.local/share'), 'ramet')
}

/**
 * Options before environment before defaults.
 *
 * @throws RametError `INVALID_ARGUMENT` for an address that is none, and for a socket path of more than 107 bytes
 */
export function resolveTarget(options: ConnectionOptions = {}, env: Variables = process.env): Target {
  const token = options.token ?? (env.RAMET_API_KEY || undefined)
  if (options.socketPath !== undefined) return overSocket(options.socketPath, token)
  // A data directory given by hand is nearer to the caller than an address in the environment.
  const fromEnvironment = options.dataDirectory === undefined ? env.RAMET_API_URL || undefined : undefined
  const address = options.url ?? fromEnvironment
  if (address === undefined) {
    const directory = resolve(options.dataDirectory ?? defaultDataDirectory(env))
    return overSocket(join(directory, socketFileName), token)
  }
  if (address.startsWith('unix:')) return overSocket(address.slice('unix:'.length).replace(/^\/\/(?=\/)/, ''), token)
  if (!URL.canParse(address)) throw noAddress(address)
  const url = new URL(address)
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw noAddress(address)
  return { url, token }
}

/** What the kernel has room for in the address of a unix socket, without the zero at its end. */
const socketPathMaxBytes = 107

function overSocket(socketPath: string, token: string | undefined): Target {
  const pathBytes = Buffer.byteLength(socketPath)
  if (pathBytes > socketPathMaxBytes)
    throw new RametError('INVALID_ARGUMENT', {
      message: `the socket path ${socketPath} has ${pathBytes} bytes, of at most ${socketPathMaxBytes}`,
      remediation: 'Choose a data directory with a shorter path, by --data-dir or RAMET_DATA_DIR.',
    })
  return { socketPath, url: new URL('http://localhost'), token }
}

function noAddress(address: string): RametError {
  return new RametError('INVALID_ARGUMENT', {
    message: `“${address}” is not the address of a daemon`,
    remediation: 'Use http://host:port, https://host:port, or unix:/path of its socket.',
  })
}
