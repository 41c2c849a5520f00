import { closeSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { confineNetwork, requireRoot } from '../host/network-group.ts'
import { identify, type ProcessIdentity, signalProcess } from '../host/process-identity.ts'
import type { DetachedProcess, ProcessUser, SpawnDetached } from '../host/spawn-detached.ts'
import { spawnGated } from '../host/start-gate.ts'
import { waitForPath } from '../host/wait-for-path.ts'
import { systemClock } from '../shared/clock.ts'
import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { openLog } from './qemu-log.ts'

export interface UserNetworkOptions {
  /** directory of the vm, absolute */
  dir: string
  /** name of the socket in it that QEMU's `stream` netdev connects to */
  socketName: string
  /** the guest's address with prefix length */
  address: string
  gateway: string
  spawn: SpawnDetached
  user?: ProcessUser
  signal?: AbortSignal
  /** told of the process before anything else can fail: the journal's chance */
  onSpawn?: (identity: ProcessIdentity) => void
}

/** Flags of a listening socket in `/proc/net/unix`: `__SO_ACCEPTCON`. */
const acceptsConnections = '00010000'

/** Nothing announces that a socket listens. */
const listenRetryMs = 1

/**
 * Starts passt: outbound connections of one NIC become sockets of an unprivileged process, which a packet
 * filter keeps off this host and off link-local addresses. passt itself would connect a guest to the host's
 * loopback. No port is opened, and it ends with the QEMU it serves.
 *
 * @throws RametError `PRIVILEGE` when the daemon is not root, `HOST_UNFIT` when passt is not installed or
 *   the kernel has no such filter, `VMM_FAILED` when it did not come up, or the signal's reason
 */
export async function startUserNetwork(options: UserNetworkOptions): Promise<{ identity: ProcessIdentity }> {
  requireRoot()
  const logFd = openLog(options.dir)
  let started: DetachedProcess | undefined
  try {
    const { spawn, user } = options
    started = await spawnGated(
      spawn,
      {
        command: 'passt',
        args: passtArguments(options),
        cwd: options.dir,
        stdio: ['ignore', logFd, logFd],
        ...(user === undefined ? {} : { user }),
      },
      ({ identity }) => {
        options.onSpawn?.(identity)
        // passt keeps sockets in stock from its first moment on: it must not have begun.
        confineNetwork(identity.pid)
      },
    )
    await untilListening(started, options)
    return { identity: started.identity }
  } catch (error) {
    if (started !== undefined) signalProcess(started.identity, 'SIGKILL')
    throw error
  } finally {
    closeSync(logFd)
  }
}

function passtArguments(options: UserNetworkOptions): string[] {
  const [address = '', prefix = '16'] = options.address.split('/')
  return [
    // passt leaves its working directory, so it is the socket's whole path that tells whose it is.
    ...['--foreground', '--one-off', '--quiet', '--stderr', '--socket', join(options.dir, options.socketName)],
    ...['--no-map-gw', '--address', address, '--netmask', prefix, '--gateway', options.gateway],
    ...['--ipv4-only', '--tcp-ports', 'none', '--udp-ports', 'none'],
  ]
}

async function untilListening(started: DetachedProcess, options: UserNetworkOptions): Promise<void> {
  const ended = new AbortController()
  started.child.once('exit', (code) => ended.abort(new Error(`passt ended (exit code ${code})`)))
  const stops = [ended.signal, AbortSignal.timeout(limits.qmpConnectTimeoutMs)]
  const either = AbortSignal.any(options.signal ? [...stops, options.signal] : stops)
  try {
    const path = join(options.dir, options.socketName)
    await waitForPath(path, limits.qmpConnectTimeoutMs, either)
    while (!isListening(path)) await systemClock.sleep(listenRetryMs, either)
  } catch (error) {
    options.signal?.throwIfAborted()
    throw new RametError('VMM_FAILED', {
      message: 'passt did not come up, so there is no network `user`',
      remediation: 'passt needs an IPv4 default route on this host; the QEMU log of the VM has its own words.',
      cause: error,
    })
  }
}

/** Between `bind` and `listen` the socket's file is there already; passt takes one client, so it is not tried out. */
function isListening(path: string): boolean {
  const line = readFileSync('/proc/net/unix', 'utf8')
    .split('\n')
    .find((candidate) => candidate.endsWith(` ${path}`))
  return line?.split(/\s+/)[3] === acceptsConnections
}

/** All passt processes that serve a vm, also those whose pid was never written down. */
export function userNetworksOf(dir: string): ProcessIdentity[] {
  const found: ProcessIdentity[] = []
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    const [program = '', ...args] = argumentsOf(entry)
    if (!program.endsWith('passt') || !args.some((arg) => arg.startsWith(`${dir}/`))) continue
    const identity = identify(Number(entry))
    if (identity !== undefined) found.push(identity)
  }
  return found
}

/** Empty when the process has just ended. */
function argumentsOf(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
  } catch {
    return []
  }
}
