/** Starting processes that outlive the daemon. */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import { errnoOf, RametError } from '../shared/errors.ts'
import { faultPoint } from '../shared/fault.ts'
import { bootId, type ProcessIdentity, readStat } from './process-identity.ts'

/** One descriptor of the new process: nothing, an open descriptor of ours, or a socket to us. */
export type StdioEntry = 'ignore' | 'pipe' | number

export interface SpawnDetachedOptions {
  /** path of the program, or a name looked up in `env.PATH` */
  command: string
  args: readonly string[]
  /** what the process sees as its own name; default the command; not kept together with `user.groups` */
  argv0?: string
  /** the whole environment; nothing is inherited; default only PATH */
  env?: Readonly<Record<string, string>>
  /** default `/`, so that no directory is kept busy */
  cwd?: string
  /** descriptor N of the process is entry N; at least three; default all ignored */
  stdio?: readonly StdioEntry[]
  /** runs as this user from before exec on */
  user?: ProcessUser
}

export interface ProcessUser {
  uid: number
  gid: number
  /** supplementary groups, for example that of /dev/kvm; needs `setpriv` when not empty */
  groups?: readonly number[]
}

export interface DetachedProcess {
  readonly identity: ProcessIdentity
  /** for its `exit` event while the daemon lives; unref'd */
  readonly child: ChildProcess
  /** the stream of each entry that was `pipe`, by descriptor */
  readonly streams: ReadonlyArray<(Readable & Writable) | undefined>
}

/** Injected wherever processes are started, so that tests can fake it. */
export type SpawnDetached = (options: SpawnDetachedOptions) => Promise<DetachedProcess>

export const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/**
 * Starts a program in a session of its own. It ends neither with the daemon nor by its terminal's signals.
 * A program that ends at once still has an identity, and its `exit` event is yet to come.
 *
 * @throws RametError `HOST_UNFIT` when the program is missing, `PRIVILEGE` when the user may not be changed,
 *   `NO_CAPACITY` when the host has no room for another process, `VMM_FAILED` when it cannot be started for another reason
 */
export const spawnDetached: SpawnDetached = async (options) => {
  const stdio = [...(options.stdio ?? ['ignore', 'ignore', 'ignore'])]
  const { command, args, ...identityOptions } = asUser(options)
  const child = begin(command, args, {
    ...identityOptions,
    cwd: options.cwd ?? '/',
    env: { PATH: defaultPath, ...options.env },
    stdio,
    detached: true,
  })
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve)
    child.once('error', (error) => reject(spawnError(command, error)))
  })
  // Until this turn of the event loop is over, not even a program that has ended already can have been reaped.
  const stat = child.pid === undefined ? undefined : readStat(child.pid)
  if (child.pid === undefined || stat === undefined) {
    throw new RametError('INTERNAL', { message: `${command} was started but cannot be identified` })
  }
  const identity = { pid: child.pid, startTime: stat.startTime, bootId: bootId() }
  child.unref()
  return { identity, child, streams: stdio.map((entry, fd) => (entry === 'pipe' ? streamOf(child, fd) : undefined)) }
}

/** Some errors are thrown at once, others told by an event. */
function begin(command: string, args: string[], options: SpawnOptions): ChildProcess {
  try {
    faultPoint('process.spawn')
    return spawn(command, args, options)
  } catch (error) {
    throw error instanceof Error ? spawnError(command, error) : error
  }
}

interface Invocation {
  command: string
  args: string[]
  argv0?: string
  uid?: number
  gid?: number
}

/**
 * Node drops all supplementary groups when it changes the user. A process that needs one is started
 * through setpriv, which sets user and groups and then becomes the program (same pid, same start time).
 */
export function asUser(options: SpawnDetachedOptions): Invocation {
  const { command, user } = options
  const args = [...options.args]
  const argv0 = options.argv0 === undefined ? {} : { argv0: options.argv0 }
  if (user === undefined) return { command, args, ...argv0 }
  if (user.groups === undefined || user.groups.length === 0) {
    return { command, args, ...argv0, uid: user.uid, gid: user.gid }
  }
  const ids = [`--reuid=${user.uid}`, `--regid=${user.gid}`, `--groups=${user.groups.join(',')}`]
  return { command: 'setpriv', args: [...ids, '--inh-caps=-all', '--', command, ...args] }
}

function streamOf(child: ChildProcess, fd: number): (Readable & Writable) | undefined {
  const stream: unknown = child.stdio[fd]
  return isDuplex(stream) ? stream : undefined
}

function isDuplex(stream: unknown): stream is Readable & Writable {
  return typeof stream === 'object' && stream !== null && 'on' in stream
}

/** What a host says that has no room for another process, or for another descriptor. */
const hostIsFull = new Set(['EAGAIN', 'ENOMEM', 'EMFILE', 'ENFILE'])

function spawnError(command: string, error: Error): RametError {
  const errno = errnoOf(error)
  if (errno !== undefined && hostIsFull.has(errno)) {
    const message = `the host has no room for another process: ${command} could not be started (${errno})`
    return new RametError('NO_CAPACITY', { message, cause: error })
  }
  if (errno === 'ENOENT') {
    const remediation = `Install the package that provides ${command}; see \`ramet doctor\`.`
    return new RametError('HOST_UNFIT', { message: `${command} was not found`, cause: error, remediation })
  }
  if (errno === 'EPERM' || errno === 'EACCES') {
    return new RametError('PRIVILEGE', { message: `${command} may not be started as that user`, cause: error })
  }
  return new RametError('VMM_FAILED', { message: `${command} could not be started`, cause: error })
}
