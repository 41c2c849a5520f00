import { chmod, chown, lstat, mkdtemp, rename, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { dirname, join } from 'node:path'
import { errnoOf, RametError } from '../shared/errors.ts'

/** `sun_path` of Linux, without the final NUL. */
const socketPathBytes = 107

export interface SocketOptions {
  path: string
  /** group that may connect too; only the owner when left out */
  gid?: number | undefined
}

/**
 * Listens on a unix socket that nobody else can open, not even for a moment: it is bound inside a
 * private directory and gets its mode there, then its name. A socket that a dead daemon left is replaced.
 *
 * @param listen binds to the path it is given
 * @returns removes the socket, unless another daemon has taken the path since
 * @throws RametError `IN_USE` when a daemon answers there, `INVALID_ARGUMENT` for a path that is too long
 */
export async function placeSocket(
  options: SocketOptions,
  listen: (path: string) => Promise<unknown>,
): Promise<() => Promise<void>> {
  const { path, gid } = options
  if (await answers(path))
    throw new RametError('IN_USE', {
      message: `another daemon listens on ${path}`,
      remediation: 'Stop it with `ramet serve --stop`, or use another data directory.',
    })
  const folder = await mkdtemp(join(dirname(path), '.s'))
  try {
    const hidden = join(folder, 's')
    if (Buffer.byteLength(hidden) > socketPathBytes || Buffer.byteLength(path) > socketPathBytes)
      throw new RametError('INVALID_ARGUMENT', {
        message: `the path of the socket is too long for the system: ${path}`,
        remediation: 'Use a shorter data directory.',
      })
    await listen(hidden)
    if (gid !== undefined) await chown(hidden, -1, gid)
    await chmod(hidden, gid === undefined ? 0o600 : 0o660)
    const { ino } = await lstat(hidden)
    await rename(hidden, path)
    return async () => {
      if ((await inodeOf(path)) === ino) await rm(path, { force: true })
    }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function inodeOf(path: string): Promise<number | undefined> {
  try {
    return (await lstat(path)).ino
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw error
  }
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path)
    const end = (yes: boolean) => {
      socket.destroy()
      resolve(yes)
    }
    socket.once('connect', () => end(true))
    socket.once('error', () => end(false))
  })
}
