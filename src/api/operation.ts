import { z } from 'zod'
import { pageOf, Time } from './primitives.ts'
import { Problem } from './problem.ts'

export const operationKinds = [
  'vm.create',
  'vm.start',
  'vm.stop',
  'vm.pause',
  'vm.resume',
  'vm.kill',
  'vm.remove',
  'vm.fork',
  'vm.clone',
  'snapshot.create',
  'snapshot.restore',
  'snapshot.remove',
  'snapshot.import',
  'template.create',
  'template.fork',
  'template.remove',
  'image.build',
  'image.import',
  'image.remove',
] as const
export type OperationKind = (typeof operationKinds)[number]

export const operationStates = ['pending', 'running', 'succeeded', 'failed', 'cancelled'] as const
export type OperationState = (typeof operationStates)[number]

export const Progress = z
  .object({
    stage: z.string().describe('Stage under way, one or two words.'),
    fraction: z.number().min(0).max(1).optional().describe('Part done of the whole, 0 to 1, when it is known.'),
    doneBytes: z.int().nonnegative().optional().describe('Done in this stage, bytes.'),
    totalBytes: z.int().nonnegative().optional().describe('All of this stage, bytes.'),
    message: z.string().optional().describe('The stage as a sentence for people.'),
  })
  .meta({ id: 'Progress', description: 'How far an operation is.' })
export type Progress = z.infer<typeof Progress>

/** A long action that can be watched, waited for and cancelled. */
export const Operation = z
  .object({
    id: z.string().describe('Id of the operation.'),
    kind: z.enum(operationKinds).describe('What is done.'),
    target: z
      .object({
        kind: z.enum(['vm', 'template', 'image', 'snapshot']).describe('Kind of the thing acted on.'),
        id: z.string().describe('Its id.'),
        name: z.string().describe('Its name.'),
      })
      .describe('What it is done to.'),
    state: z.enum(operationStates).describe('Where it is; the last three are final.'),
    progress: Progress,
    createdAt: Time.describe('When it was asked for.'),
    startedAt: Time.optional().describe('When it began.'),
    finishedAt: Time.optional().describe('When it reached a final state.'),
    result: z.unknown().optional().describe('What the action answers, once succeeded: the same as with `?wait=true`.'),
    error: Problem.optional().describe('Why it failed or was cancelled.'),
  })
  .meta({ id: 'Operation', description: 'A long action that can be watched, waited for and cancelled.' })
export type Operation = z.infer<typeof Operation>

export const OperationPage = pageOf(Operation, 'OperationPage')

export function isFinal(state: OperationState): boolean {
  return state === 'succeeded' || state === 'failed' || state === 'cancelled'
}
