import type { Problem } from '../api/problem.ts'
import { RametApiError } from '../client/errors.ts'
import { causeChain, errorTable, exitCodes, RametError } from '../shared/errors.ts'
import { type Io, note } from './io.ts'

/** What a failure is shown as: what happened, why, what to do. */
export interface Shown {
  what: string
  why?: string | undefined
  remedy?: string | undefined
  exitCode: number
  /** lines of a console or a log that tell more */
  lines?: readonly string[] | undefined
  problem: Problem
}

/** An error of the command line itself, which has no code in the table of errors. */
export class UsageError extends RametError {
  constructor(message: string, remediation: string) {
    super('INVALID_ARGUMENT', { message, remediation })
  }
}

export function describeError(error: unknown): Shown {
  const problem = problemOf(error)
  return {
    what: problem.detail,
    why: problem.cause,
    remedy: problem.remediation || undefined,
    exitCode: exitCodeOf(problem),
    lines: linesOf(problem.details),
    problem,
  }
}

function problemOf(error: unknown): Problem {
  if (error instanceof RametApiError) return withCause(error.problem, error)
  const own = error instanceof RametError ? error : new RametError('INTERNAL', { message: textOf(error), cause: error })
  const cause = error instanceof RametError ? causeChain(error) : undefined
  return {
    type: `urn:ramet:problem:${own.code.toLowerCase().replaceAll('_', '-')}`,
    title: own.code.charAt(0) + own.code.slice(1).toLowerCase().replaceAll('_', ' '),
    status: own.kind.httpStatus,
    detail: own.message,
    code: own.code,
    ...(cause === undefined ? {} : { cause }),
    remediation: own.remediation,
    retryable: own.kind.retryable === true,
    ...(Object.keys(own.details).length === 0 ? {} : { details: own.details }),
  }
}

function withCause(problem: Problem, error: RametApiError): Problem {
  const cause = problem.cause ?? (error.cause instanceof Error ? error.cause.message : undefined)
  return cause === undefined ? problem : { ...problem, cause }
}

const textOf = (error: unknown) => (error instanceof Error ? error.message : String(error))

/** By the table; a code that only a newer daemon knows is judged by its status. */
function exitCodeOf(problem: Problem): number {
  const known: { exitCode: number } | undefined = errorTable[problem.code]
  if (known !== undefined) return known.exitCode
  const byStatus: Record<number, number> = {
    400: exitCodes.usage,
    404: exitCodes.notFound,
    409: exitCodes.conflict,
    504: exitCodes.timeout,
    507: exitCodes.capacity,
  }
  return byStatus[problem.status] ?? exitCodes.error
}

function linesOf(details: Record<string, unknown> | undefined): readonly string[] | undefined {
  const lines = details?.consoleLines ?? details?.logLines
  return Array.isArray(lines) && lines.length > 0 ? lines.map(String) : undefined
}

/** Writes it: three short lines for people, a problem document for programs. */
export async function showError(io: Io, shown: Shown, format: string): Promise<void> {
  if (format === 'json') return await note(io, JSON.stringify(shown.problem))
  const text = [`ramet: ${shown.what}`]
  if (shown.why !== undefined && shown.why !== shown.what) text.push(`  why: ${shown.why}`)
  for (const one of shown.lines ?? []) text.push(`  | ${one}`)
  if (shown.remedy !== undefined) text.push(`  remedy: ${shown.remedy}`)
  await note(io, text.join('\n'))
}
