import { z } from 'zod'
import { isFinal, Operation, OperationPage, operationKinds, operationStates } from '../../api/operation.ts'
import { pageQuery, queryList, Ref } from '../../api/primitives.ts'
import { limits } from '../../shared/limits.ts'
import { type Route, valueRoute } from '../route.ts'

const operationParams = z.object({ operation: Ref.describe('Id of the operation.') })

const common = {
  tag: 'operations',
  params: operationParams,
  answer: { status: 200, schema: Operation },
} as const

export const operationRoutes: Route[] = [
  valueRoute({
    operationId: 'listOperations',
    method: 'GET',
    path: '/v1/operations',
    tag: 'operations',
    summary: 'List operations, newest first',
    query: z.strictObject({
      ...pageQuery,
      state: queryList(z.enum(operationStates)).describe('Only those in one of these states.'),
      kind: queryList(z.enum(operationKinds)).describe('Only those of one of these kinds.'),
      target: Ref.optional().describe('Only those that act on this, by id or name.'),
    }),
    answer: { status: 200, schema: OperationPage },
    errors: [],
    handle: ({ engine, query }) => engine.listOperations(query),
  }),
  valueRoute({
    ...common,
    operationId: 'getOperation',
    method: 'GET',
    path: '/v1/operations/{operation}',
    summary: 'Look at one operation, or wait for it',
    query: z.strictObject({
      waitMs: z.coerce
        .number()
        .int()
        .min(0)
        .max(limits.operationWaitMs)
        .default(0)
        .describe('Answer as soon as it is final, or after this time, milliseconds.'),
    }),
    errors: ['NOT_FOUND'],
    handle: async ({ engine, params, query, signal }) => {
      const operation = await engine.getOperation(params.operation)
      if (query.waitMs === 0 || isFinal(operation.state)) return operation
      const enough = AbortSignal.any([signal, AbortSignal.timeout(query.waitMs)])
      try {
        return await engine.waitOperation(params.operation, enough)
      } catch (error) {
        if (!enough.aborted) throw error
        return await engine.getOperation(params.operation)
      }
    },
  }),
  valueRoute({
    ...common,
    operationId: 'cancelOperation',
    method: 'POST',
    path: '/v1/operations/{operation}/cancel',
    summary: 'Ask an operation to end; it undoes what it has done',
    errors: ['NOT_FOUND', 'ILLEGAL_STATE'],
    handle: ({ engine, params }) => engine.cancelOperation(params.operation),
  }),
]
