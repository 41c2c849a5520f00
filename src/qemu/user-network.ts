import { closeSync } from 'node:fs'
import { join } from 'node:path'
import { type ProcessIdentity, signalProcess } from '../host/process-identity.ts'
import type { ProcessUser, SpawnDetached } from '../host/spawn-detached.ts'
import { waitForPath } from '../host/wait-for-path.ts'
import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { openLog } from './qemu-log.ts'

export interface UserNetworkOptions {
  /** directory of the vm */
  dir: string
  /** name of the socket in it that QEMU's `stream` netdev connects to */
  socketName: string
  /** the guest's address with prefix length */
  address: string
  gateway: string
  spawn: SpawnDetached
  user?: ProcessUser
  signal?: AbortSignal
}

/**
 * Starts passt: outbound connections of one NIC become sockets of an unprivileged process. The gateway is
 * not mapped to the host (`--no-map-gw`), no port is opened, and it ends with the QEMU it serves.
 *
 * @throws RametError `HOST_UNFIT` when passt is not installed, `VMM_FAILED` when it did not come up
 */
export async function startUserNetwork(options: UserNetworkOptions): Promise<{ identity: ProcessIdentity }> {
  const [address = '', prefix = '16'] = options.address.split('/')
  const logFd = openLog(options.dir)
  try {
    const { identity } = await options.spawn({
      command: 'passt',
      args: [
        ...['--foreground', '--one-off', '--quiet', '--stderr', '--socket', options.socketName],
        ...['--no-map-gw', '--address', address, '--netmask', prefix, '--gateway', options.gateway],
        ...['--ipv4-only', '--tcp-ports', 'none', '--udp-ports', 'none'],
      ],
      cwd: options.dir,
      stdio: ['ignore', logFd, logFd],
      ...(options.user === undefined ? {} : { user: options.user }),
    })
    try {
      await waitForPath(join(options.dir, options.socketName), limits.qmpConnectTimeoutMs, options.signal)
    } catch (error) {
      signalProcess(identity, 'SIGKILL')
      throw new RametError('VMM_FAILED', { message: 'passt did not come up', cause: error })
    }
    return { identity }
  } finally {
    closeSync(logFd)
  }
}
