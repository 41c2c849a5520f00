import type { z } from 'zod'
import { isFinal, type Operation } from '../api/operation.ts'
import { problemMediaType, toProblem } from '../api/problem.ts'
import type { Action, Engine, StoredAnswer } from '../engine/contract.ts'
import { asRametError, isRametError, RametError } from '../shared/errors.ts'
import { fromProblem } from './problems.ts'
import type { ActionRoute, ValueRoute } from './route.ts'

type Answering = Pick<
  ValueRoute<z.ZodObject, z.ZodObject, z.ZodType> | ActionRoute<z.ZodObject, z.ZodObject, z.ZodType>,
  'answer' | 'operationId'
>

/**
 * What a route answers when all went well.
 *
 * @param check for tests: an answer that its own schema refuses becomes an error
 */
export function answerOfValue(route: Answering, value: unknown, check: boolean): StoredAnswer {
  const { answer } = route
  if (answer.status === 204) return { status: 204, headers: {}, body: '' }
  if (check) checkAgainst(answer.schema, route.operationId, value)
  const location = answer.location?.(value)
  return {
    status: answer.status,
    headers: {
      'content-type': 'application/json; charset=utf-8',
      ...(location === undefined ? {} : { location }),
    },
    body: JSON.stringify(value),
  }
}

function checkAgainst(schema: z.ZodType, operationId: string, value: unknown): void {
  const result = schema.safeParse(value)
  if (result.success) return
  const [issue] = result.error.issues
  throw new RametError('INTERNAL', {
    message: `the answer of ${operationId} is not what its schema says: ${issue?.path.join('.')}: ${issue?.message}`,
  })
}

/** The final answer of an action, a failure included, for the next request with the same key. */
export async function answerOfAction(route: Answering, action: Action<unknown>): Promise<StoredAnswer> {
  try {
    return answerOfValue(route, await action.done, false)
  } catch (error) {
    const problem = toProblem(asRametError(error))
    return { status: problem.status, headers: { 'content-type': problemMediaType }, body: JSON.stringify(problem) }
  }
}

/** The action that an operation made earlier is; undefined when there is no such operation. */
export async function resumeAction(engine: Engine, operationId: string): Promise<Action<unknown> | undefined> {
  let operation: Operation
  try {
    operation = await engine.getOperation(operationId)
  } catch (error) {
    if (isRametError(error, 'NOT_FOUND')) return undefined
    throw error
  }
  const done = isFinal(operation.state)
    ? Promise.resolve(operation).then(resultOf)
    : engine.waitOperation(operationId).then(resultOf)
  done.catch(() => {})
  return { operation, done }
}

function resultOf(operation: Operation): unknown {
  if (operation.state === 'succeeded') return operation.result
  if (operation.error !== undefined) throw fromProblem(operation.error)
  throw new RametError(operation.state === 'cancelled' ? 'CANCELLED' : 'INTERNAL', {
    message: `operation ${operation.id} ${operation.state}`,
  })
}
