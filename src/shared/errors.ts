/**
 * Every failure that crosses a room's boundary has a code from this table. The code is the contract
 * (match on it, not on the class or the text); the rest is what each face shows for it.
 */
export interface ErrorKind {
  /** HTTP status of the problem document */
  readonly httpStatus: number
  /** exit code of the command line */
  readonly exitCode: number
  /** what the user can do about it, one sentence; a thrower may give a better one */
  readonly remediation: string
  /** whether the same call may succeed later without any change */
  readonly retryable?: true
}

export const exitCodes = { ok: 0, error: 1, usage: 2, notFound: 3, conflict: 4, capacity: 5, timeout: 124 } as const

export const errorTable = {
  // The caller's mistakes
  INVALID_ARGUMENT: { httpStatus: 400, exitCode: 2, remediation: 'Correct the named value and call again.' },
  INVALID_NAME: {
    httpStatus: 400,
    exitCode: 2,
    remediation: 'Use 1 to 63 lower-case letters, digits and dashes, beginning and ending with a letter or digit.',
  },
  UNAUTHORIZED: {
    httpStatus: 401,
    exitCode: 1,
    remediation: 'Send the token from <data directory>/token (RAMET_API_KEY), or call over the unix socket.',
  },
  FORBIDDEN: { httpStatus: 403, exitCode: 1, remediation: 'Call from an allowed origin, or over the unix socket.' },
  NOT_FOUND: { httpStatus: 404, exitCode: 3, remediation: 'List what exists with `ramet ls`.' },
  VM_NOT_FOUND: { httpStatus: 404, exitCode: 3, remediation: 'See `ramet ls --all` for the names there are.' },
  TEMPLATE_NOT_FOUND: { httpStatus: 404, exitCode: 3, remediation: 'See `ramet template ls` for the names there are.' },
  IMAGE_NOT_FOUND: {
    httpStatus: 404,
    exitCode: 3,
    remediation: 'See `ramet image ls`; build one with `ramet image build micro`.',
  },
  SNAPSHOT_NOT_FOUND: { httpStatus: 404, exitCode: 3, remediation: 'See `ramet snapshot ls` for the names there are.' },
  NAME_TAKEN: { httpStatus: 409, exitCode: 4, remediation: 'Choose another name, or remove the one that has it.' },
  ILLEGAL_STATE: { httpStatus: 409, exitCode: 4, remediation: 'Bring it into a state in which this is legal first.' },
  IN_USE: { httpStatus: 409, exitCode: 4, remediation: 'Remove what depends on it first.' },
  FROZEN_BY_TEMPLATE: {
    httpStatus: 409,
    exitCode: 4,
    remediation: 'Leave it out at fork, or create another template with the value wanted.',
  },
  PAUSE_TOO_LONG: {
    httpStatus: 409,
    exitCode: 4,
    remediation: 'Allow a longer pause, or fork when the vm has written less.',
  },
  IDEMPOTENCY_MISMATCH: {
    httpStatus: 409,
    exitCode: 4,
    remediation: 'Use a new Idempotency-Key for a different request.',
  },
  TOO_LARGE: { httpStatus: 413, exitCode: 2, remediation: 'Stay below the limit that the message names.' },

  // The host's limits
  NO_CAPACITY: {
    httpStatus: 503,
    exitCode: 5,
    remediation: 'Free memory by removing VMs, or ask for less.',
    retryable: true,
  },
  NO_SPACE: { httpStatus: 507, exitCode: 5, remediation: 'Free space in the data directory, then call again.' },
  HOST_UNFIT: { httpStatus: 503, exitCode: 1, remediation: 'Run `ramet doctor`; it names what is missing.' },
  PRIVILEGE: { httpStatus: 403, exitCode: 2, remediation: 'Run it as root, or see `ramet doctor`.' },

  // What goes wrong under way
  CANCELLED: { httpStatus: 409, exitCode: 1, remediation: 'Call again if it was not meant to be cancelled.' },
  TIMEOUT: { httpStatus: 504, exitCode: 124, remediation: 'Give it more time with --timeout.', retryable: true },
  IMAGE_INVALID: { httpStatus: 422, exitCode: 1, remediation: 'Check the file; import it again from a whole copy.' },
  IMAGE_BUILD_FAILED: { httpStatus: 500, exitCode: 1, remediation: 'Read the build log that the message names.' },
  GUEST_PANIC: { httpStatus: 502, exitCode: 1, remediation: 'Read the console lines below, or `ramet logs`.' },
  GUEST_UNREACHABLE: {
    httpStatus: 504,
    exitCode: 1,
    remediation: 'Look at `ramet logs`; the guest agent does not answer.',
    retryable: true,
  },
  GUEST_REFUSED: { httpStatus: 422, exitCode: 1, remediation: 'The guest answered with the error shown.' },
  AGENT_PROTOCOL: {
    httpStatus: 502,
    exitCode: 1,
    remediation:
      'Rebuild the image with this version of Ramet, so that its agent speaks a protocol that the host knows.',
  },
  AGENT_LINK_LOST: {
    httpStatus: 502,
    exitCode: 1,
    remediation: 'Call again; detached processes go on and can be attached to.',
    retryable: true,
  },
  IDENTITY_UNPROVED: {
    httpStatus: 502,
    exitCode: 1,
    remediation: 'The child was destroyed; fork again, and report it if it repeats.',
    retryable: true,
  },
  READINESS_FAILED: {
    httpStatus: 504,
    exitCode: 124,
    remediation: 'Correct the probe or the start command, or give it more time.',
  },
  VMM_FAILED: {
    httpStatus: 500,
    exitCode: 1,
    remediation: 'Read the end of the QEMU log shown, and run `ramet doctor`.',
  },
  QMP_FAILED: { httpStatus: 500, exitCode: 1, remediation: 'Read the QEMU log of this VM; `ramet inspect` names it.' },
  BASE_DAMAGED: {
    httpStatus: 500,
    exitCode: 1,
    remediation: 'Remove the template or image named, and make it again.',
  },
  CHECKPOINT_DAMAGED: {
    httpStatus: 422,
    exitCode: 1,
    remediation: 'Restore from another copy or an older checkpoint; what the message names cannot be trusted.',
  },
  CHECKPOINT_UNFIT: {
    httpStatus: 409,
    exitCode: 4,
    remediation: 'Restore it on a host like the one it was made on; the message names what differs.',
  },
  CHECKPOINT_UNREACHABLE: {
    httpStatus: 504,
    exitCode: 1,
    remediation: 'See that its address answers from this host, then call again.',
    retryable: true,
  },
  FORK_INCOMPLETE: {
    httpStatus: 500,
    exitCode: 1,
    remediation: 'With --atomic nothing was kept; the causes are listed per child.',
  },
  DAEMON_UNREACHABLE: {
    httpStatus: 503,
    exitCode: 1,
    remediation: 'Start it with `ramet serve`, or look at its log in the data directory.',
    retryable: true,
  },
  // The store of what exists
  STORE_CONFLICT: {
    httpStatus: 409,
    exitCode: 4,
    remediation: 'Somebody else changed it at the same time; look at it again, then repeat the call.',
    retryable: true,
  },
  STORE_DAMAGED: {
    httpStatus: 500,
    exitCode: 1,
    remediation: 'Put the file named aside and restore it from a backup; the VMs and disks are beside it, untouched.',
  },
  STORE_TOO_NEW: {
    httpStatus: 500,
    exitCode: 1,
    remediation: 'Start the newer Ramet that wrote it, or give another data directory.',
  },
  DAEMON_RUNNING: {
    httpStatus: 409,
    exitCode: 4,
    remediation: 'Use the daemon that runs, or stop it first with `ramet serve --stop`.',
  },
  INTERNAL: { httpStatus: 500, exitCode: 1, remediation: 'This is a defect in Ramet; please report it with the log.' },
} as const satisfies Record<string, ErrorKind>

export type ErrorCode = keyof typeof errorTable

export interface RametErrorOptions {
  /** what happened, one sentence, naming the thing it happened to */
  message: string
  /** why, when it is known: the lower error, or a sentence */
  cause?: unknown
  /** a remedy better than the table's */
  remediation?: string
  /** machine-readable facts (names of dependents, limits, console lines); plain JSON */
  details?: Record<string, unknown>
}

/** The one error class that crosses room boundaries. */
export class RametError extends Error {
  override readonly name = 'RametError'
  readonly code: ErrorCode
  readonly remediation: string
  readonly details: Record<string, unknown>

  constructor(code: ErrorCode, options: RametErrorOptions) {
    super(options.message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.remediation = options.remediation ?? errorTable[code].remediation
    this.details = options.details ?? {}
  }

  get kind(): ErrorKind {
    return errorTable[this.code]
  }
}

export function isRametError(error: unknown, code?: ErrorCode): error is RametError {
  return error instanceof RametError && (code === undefined || error.code === code)
}

/** Errno of a failed system call, for example `ENOSPC`; undefined for anything else. */
export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}

/** Wraps what is not yet one of ours; a full disk keeps its meaning wherever it is met. */
export function asRametError(error: unknown): RametError {
  if (error instanceof RametError) return error
  // An undo failed too: what it was undone for is what matters.
  if (error instanceof SuppressedError) return asRametError(error.suppressed)
  if (errnoOf(error) === 'ENOSPC')
    return new RametError('NO_SPACE', { message: 'no space left on device', cause: error })
  const message = error instanceof Error ? error.message : String(error)
  return new RametError('INTERNAL', { message, cause: error })
}

/** The chain of causes as one line, outermost first, for logs and problem documents. */
export function causeChain(error: unknown): string | undefined {
  const parts: string[] = []
  let current = error instanceof Error ? error.cause : undefined
  while (current !== undefined && parts.length < 8) {
    parts.push(current instanceof Error ? current.message : String(current))
    current = current instanceof Error ? current.cause : undefined
  }
  return parts.length > 0 ? parts.join(': ') : undefined
}
