/** Whatever goes wrong in a request, as an error of ours with words that name the field. */
import { z } from 'zod'
import type { Problem } from '../api/problem.ts'
import { asRametError, type ErrorCode, errorTable, RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'

type Part = 'path' | 'query' | 'body' | 'message'

/** @returns the value the schema makes of `input` @throws RametError `INVALID_ARGUMENT` or what the schema says */
export function parseOrRefuse<T extends z.ZodType>(schema: T, input: unknown, part: Part): z.infer<T> {
  const result = schema.safeParse(input)
  if (result.success) return result.data
  throw invalidInput(result.error.issues, part)
}

function invalidInput(issues: readonly z.core.$ZodIssue[], part: Part): RametError {
  const facts = issues.slice(0, limits.problemIssueCount).map((issue) => ({
    field: [part, ...issue.path.map(String)].join('.').slice(0, 200),
    message: shorten(issue.message),
  }))
  const [first] = facts
  const rest = issues.length - 1
  const more = rest > 0 ? ` (and ${rest} more)` : ''
  return new RametError(codeOf(issues[0]) ?? 'INVALID_ARGUMENT', {
    message: shorten(`${first?.field ?? part}: ${first?.message ?? 'not valid'}${more}`),
    details: { issues: facts },
  })
}

/** A schema can name the code of its refusal, as names do. */
function codeOf(issue: z.core.$ZodIssue | undefined): ErrorCode | undefined {
  if (issue?.code !== 'custom') return undefined
  const code: unknown = issue.params?.code
  return typeof code === 'string' && Object.hasOwn(errorTable, code) ? (code as ErrorCode) : undefined
}

function shorten(text: string): string {
  return text.length <= limits.problemDetailChars ? text : `${text.slice(0, limits.problemDetailChars)}…`
}

/** An error as fastify throws it. */
function hasStatus(error: unknown): error is Error & { statusCode: number; code?: string } {
  return error instanceof Error && 'statusCode' in error && typeof error.statusCode === 'number'
}

/** Errors of the HTTP layer (fastify, the JSON parser) and of the engine, as ours. */
export function fromHttpLayer(error: unknown, bodyLimitBytes: number): RametError {
  if (!hasStatus(error)) return asRametError(error)
  if (error.code === 'FST_ERR_CTP_BODY_TOO_LARGE')
    return new RametError('TOO_LARGE', { message: `the body is larger than ${bodyLimitBytes} bytes` })
  if (error.statusCode >= 400 && error.statusCode < 500)
    return new RametError('INVALID_ARGUMENT', { message: shorten(`the request cannot be read: ${error.message}`) })
  return asRametError(error)
}

/** The error that a problem document tells of, for an operation that has failed before. */
export function fromProblem(problem: Problem): RametError {
  return new RametError(problem.code, {
    message: problem.detail,
    remediation: problem.remediation,
    ...(problem.cause === undefined ? {} : { cause: problem.cause }),
    ...(problem.details === undefined ? {} : { details: problem.details }),
  })
}

/** For routes that take no query. */
export const noQuery = z.strictObject({})
