import { z } from 'zod'
import { causeChain, type ErrorCode, errorTable, type RametError } from '../shared/errors.ts'

const codes = Object.keys(errorTable) as [ErrorCode, ...ErrorCode[]]

/** An error as the API says it: RFC 9457 (`application/problem+json`) and what Ramet adds. */
export const Problem = z
  .object({
    type: z.string().describe('URI reference naming the kind of problem; follows from `code`.'),
    title: z.string().describe('The kind of problem, the same for every occurrence.'),
    status: z.int().describe('HTTP status.'),
    detail: z.string().describe('What happened, naming the thing it happened to.'),
    code: z.enum(codes).describe('Stable code; match on this.'),
    cause: z.string().optional().describe('Why, outermost cause first, when it is known.'),
    remediation: z.string().describe('What the user can do about it.'),
    retryable: z.boolean().describe('Whether the same call may succeed later without any change.'),
    details: z
      .record(z.string(), z.unknown())
      .optional()
      .describe('Machine-readable facts: dependents, limits, field errors (`issues`), console lines.'),
    instance: z.string().optional().describe('Id of the request, as found in the log of the daemon.'),
  })
  .meta({
    id: 'Problem',
    description: 'An error, RFC 9457.',
    examples: [
      {
        type: 'urn:ramet:problem:vm-not-found',
        title: 'Vm not found',
        status: 404,
        detail: 'there is no vm “web-1”',
        code: 'VM_NOT_FOUND',
        remediation: 'See `ramet ls --all` for the names there are.',
        retryable: false,
      },
    ],
  })
export type Problem = z.infer<typeof Problem>

export const problemMediaType = 'application/problem+json'

/** The problem document of an error. */
export function toProblem(error: RametError, instance?: string): Problem {
  const words = error.code.toLowerCase().split('_')
  const cause = causeChain(error)
  return {
    type: `urn:ramet:problem:${words.join('-')}`,
    title: `${error.code.charAt(0)}${words.join(' ').slice(1)}`,
    status: error.kind.httpStatus,
    detail: error.message,
    code: error.code,
    ...(cause === undefined ? {} : { cause }),
    remediation: error.remediation,
    retryable: error.kind.retryable === true,
    ...(Object.keys(error.details).length === 0 ? {} : { details: error.details }),
    ...(instance === undefined ? {} : { instance }),
  }
}
