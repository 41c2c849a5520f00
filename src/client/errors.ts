import type { Problem } from '../api/problem.ts'
import { type ErrorCode, errorTable } from '../shared/errors.ts'

/**
 * What the daemon answered instead of what was asked for, or that it could not be asked.
 * Match on {@link RametApiError.code}; the text is for people.
 *
 * @example
 * ```ts
 * import { Ramet, RametApiError } from 'ramet'
 * const ramet = new Ramet()
 * try {
 *   await ramet.vms.get('web')
 * } catch (error) {
 *   if (error instanceof RametApiError && error.code === 'VM_NOT_FOUND') console.log(error.remediation)
 * }
 * ```
 */
export class RametApiError extends Error {
  override readonly name: string = 'RametApiError'
  /** Stable code, as in the error table of the documentation. */
  readonly code: ErrorCode
  /** HTTP status; that of the table where no request got as far as the daemon. */
  readonly status: number
  /** What you can do about it, one sentence. */
  readonly remediation: string
  /** Whether the same call may succeed later without any change. */
  readonly retryable: boolean
  /** Machine-readable facts: dependents, limits, field errors, console lines. */
  readonly details: Record<string, unknown>
  /** The whole problem document. */
  readonly problem: Problem

  constructor(problem: Problem, cause?: unknown) {
    super(problem.detail, cause === undefined && problem.cause === undefined ? {} : { cause: cause ?? problem.cause })
    this.code = problem.code
    this.status = problem.status
    this.remediation = problem.remediation
    this.retryable = problem.retryable
    this.details = problem.details ?? {}
    this.problem = problem
  }
}

/** Why one child of a fork was not made. The others may have been: see {@link Vm.fork}. */
export class ForkError extends RametApiError {
  override readonly name = 'ForkError'
  /** Name that the child would have had. */
  readonly childName: string

  constructor(childName: string, problem: Problem) {
    super(problem)
    this.childName = childName
  }
}

/** A command ended with a status other than 0, or by a signal. */
export class CommandExitError extends Error {
  override readonly name = 'CommandExitError'
  /** Exit status; 128 + its number for a signal, as shells say it. */
  readonly exitCode: number
  readonly signal: string | undefined
  readonly stdout: string
  readonly stderr: string

  constructor(result: { exitCode: number; signal?: string | undefined; stdout: string; stderr: string }) {
    const how = result.signal === undefined ? `with status ${result.exitCode}` : `by ${result.signal}`
    const said = result.stderr.trimEnd().split('\n').at(-1)
    super(`the command ended ${how}${said ? `: ${said}` : ''}`)
    this.exitCode = result.exitCode
    this.signal = result.signal
    this.stdout = result.stdout
    this.stderr = result.stderr
  }
}

/** An error that arose on this side, in the same clothes as those of the daemon. */
export function localError(code: ErrorCode, detail: string, options: LocalErrorOptions = {}): RametApiError {
  const words = code.toLowerCase().split('_')
  const kind: { httpStatus: number; remediation: string; retryable?: true } = errorTable[code]
  const problem: Problem = {
    type: `urn:ramet:problem:${words.join('-')}`,
    title: `${code.charAt(0)}${words.join(' ').slice(1)}`,
    status: kind.httpStatus,
    detail,
    code,
    ...(options.cause instanceof Error ? { cause: options.cause.message } : {}),
    remediation: options.remediation ?? kind.remediation,
    retryable: kind.retryable === true,
    ...(options.details === undefined ? {} : { details: options.details }),
  }
  return new RametApiError(problem, options.cause)
}

export interface LocalErrorOptions {
  cause?: unknown
  remediation?: string
  details?: Record<string, unknown>
}

/** The error in a response that is not a success; also when it is no problem document, as from a proxy. */
export function errorOfResponse(status: number, body: string): RametApiError {
  const problem = parseProblem(body)
  if (problem !== undefined) return new RametApiError(problem)
  const known: Record<number, ErrorCode> = { 401: 'UNAUTHORIZED', 403: 'FORBIDDEN', 404: 'NOT_FOUND' }
  const code = known[status] ?? (status === 502 || status === 503 ? 'DAEMON_UNREACHABLE' : 'INTERNAL')
  const error = localError(code, `the daemon answered ${status} ${body.slice(0, 200).trim()}`.trim())
  return new RametApiError({ ...error.problem, status })
}

function parseProblem(body: string): Problem | undefined {
  try {
    const value: unknown = JSON.parse(body)
    if (typeof value !== 'object' || value === null || !('code' in value) || !('detail' in value)) return undefined
    const { code, detail } = value
    // A newer daemon may have codes that this table lacks: the text and the status still mean something.
    return typeof code === 'string' && typeof detail === 'string'
      ? {
          title: code,
          type: 'about:blank',
          status: 500,
          remediation: '',
          retryable: false,
          ...(value as Partial<Problem>),
          code: code as ErrorCode,
          detail,
        }
      : undefined
  } catch {
    return undefined
  }
}
