import { constants } from 'node:os'
import { RametError } from '../shared/errors.ts'
import type { Fields } from './wire/field-table.ts'

const errnoNames = new Map<number, string>()
for (const [name, number] of Object.entries(constants.errno)) if (!errnoNames.has(number)) errnoNames.set(number, name)

/** Name of a Linux errno, such as `ENOENT`; `errno 4711` for one that nobody knows. */
export function errnoName(errno: number): string {
  return errnoNames.get(errno) ?? `errno ${errno}`
}

const remedies: Record<string, string> = {
  EACCES: 'Call as a user who may, or change the permissions in the guest.',
  EBUSY: 'Wait until what uses it has finished, then call again.',
  ECANCELED: 'See the message; of a hook that failed, the output is in the details.',
  ECONNREFUSED: 'Start the program that should listen on that port in the guest, or name another port.',
  EEXIST: 'Choose another path, or allow it to be replaced.',
  EINVAL: 'Correct the value that the message names.',
  EISDIR: 'Name a file, not a directory.',
  ENOENT: 'Check the path: there is nothing of that name in the guest.',
  ENOEXEC: 'Name a program that the guest can run; a script needs its #! line.',
  ENOMEM: 'Free memory in the guest, or create the VM with more.',
  ENOSPC: 'Free space on the disk of the guest.',
  ENOSYS: 'Rebuild the image with this version of Ramet: its agent is too old for this.',
  ENOTDIR: 'Check the path: one of its parts is not a directory.',
  ENOTEMPTY: 'Remove what is in the directory first, or remove it recursively.',
  EROFS: 'Choose a path on a writable file system.',
  ESRCH: 'List the processes of the guest: there is none with that number.',
  ETIMEDOUT: 'Give it more time.',
}

/** `GUEST_REFUSED` with the errno's name, as the agent answered `what`. */
export function guestRefused(
  what: string,
  errno: number,
  message: string | undefined,
  details: Record<string, unknown> = {},
): RametError {
  const name = errnoName(errno)
  const remediation = remedies[name]
  return new RametError('GUEST_REFUSED', {
    message: `the guest refused ${what}: ${message === undefined || message === '' ? name : `${message} (${name})`}`,
    details: { ...details, errno: name, operation: what },
    ...(remediation === undefined ? {} : { remediation }),
  })
}

/** `GUEST_REFUSED` for a stream that the guest has ended. */
export function guestReset(what: string, errno: number, message: string | undefined): RametError {
  const error = guestRefused(what, errno, message)
  return new RametError('GUEST_REFUSED', {
    message: error.message.replace('the guest refused', 'the guest ended'),
    details: error.details,
    remediation: error.remediation,
  })
}

/** `GUEST_UNREACHABLE`: no answer in time. */
export function unanswered(operation: string, timeoutMs: number): RametError {
  return new RametError('GUEST_UNREACHABLE', {
    message: `the guest agent did not answer ${operation} within ${Math.round(timeoutMs)} ms`,
  })
}

/** The errno name of a `GUEST_REFUSED` error, undefined for anything else. */
export function guestErrno(error: unknown): string | undefined {
  if (!(error instanceof RametError) || error.code !== 'GUEST_REFUSED') return undefined
  return typeof error.details.errno === 'string' ? error.details.errno : undefined
}

/** @throws RametError `GUEST_REFUSED` unless the answer's errno is 0; `AGENT_PROTOCOL` when it has none */
export function checkAnswer(
  what: string,
  answer: Fields,
  refusalDetails: (answer: Fields) => Record<string, unknown> = () => ({}),
): Fields {
  if (answer.errno === undefined) {
    throw new RametError('AGENT_PROTOCOL', { message: `the guest agent answered ${what} without an errno` })
  }
  if (answer.errno !== 0) throw guestRefused(what, answer.errno, answer.message, refusalDetails(answer))
  return answer
}

/** @throws RametError `AGENT_PROTOCOL` when the agent left out a field that its answer must have */
export function need<T>(value: T | undefined, name: string): T {
  if (value === undefined) {
    throw new RametError('AGENT_PROTOCOL', { message: `the guest agent left out “${name}”` })
  }
  return value
}
