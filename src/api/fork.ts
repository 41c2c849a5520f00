import { z } from 'zod'
import { limits } from '../shared/limits.ts'
import { Bytes, GuestPath, Milliseconds, Mode, Name } from './primitives.ts'
import { Problem } from './problem.ts'
import { Timings } from './timings.ts'
import { Vm } from './vm.ts'
import { runOptions } from './vm-create.ts'

/** A file put into a child before its workload thaws. */
export const InjectedFile = z
  .strictObject({
    path: GuestPath,
    contentBase64: z
      .base64()
      .max(Math.ceil(limits.injectedFileBytes / 3) * 4)
      .describe('Content, base64.'),
    mode: Mode.optional().describe('Permission bits, as a number; 420 (octal 644) when left out.'),
  })
  .meta({ id: 'InjectedFile', description: 'A file put into a child before its workload thaws.' })
export type InjectedFile = z.infer<typeof InjectedFile>

/**
 * What is in the device state of a template, so that no fork can change it. The schema lets these
 * through for one reason: that the refusal (`FROZEN_BY_TEMPLATE`) can name the template's value.
 */
export const frozenAtFork = ['image', 'cpus', 'memoryBytes', 'disks', 'nics', 'init'] as const
const frozen = z.unknown().optional().describe('Chosen at create; given here, the fork is refused.')

export const ForkRequest = z
  .strictObject({
    count: z.int().min(1).max(limits.forkMaxCount).default(1).describe('Children to make.'),
    namePrefix: Name.optional().describe('Names become prefix-0, prefix-1 and so on; the source’s name when left out.'),
    names: z.array(Name).min(1).max(limits.forkMaxCount).optional().describe('Names, one for each child.'),
    ...runOptions,
    files: z.array(InjectedFile).max(limits.injectedFileCount).default([]).describe('Files to inject.'),
    link: z.enum(['up', 'down']).default('up').describe('Links of the interfaces once the identity is proved.'),
    atomic: z.boolean().default(false).describe('All or none: if one child fails, the others are removed.'),
    wait: z
      .enum(['running', 'ready'])
      .default('ready')
      .describe('running: QEMU says the guest runs · ready: the workload executes with its own identity.'),
    pauseParent: z
      .boolean()
      .default(false)
      .describe(
        'Leave the vm that is forked paused: it stands at the very moment of its children until it is resumed.',
      ),
    freeze: z
      .boolean()
      .default(true)
      .describe(
        'Freeze the workload for the capture, and in each child until its identity is proved. With false only the guest as a whole is stopped: children execute for a moment in the name of their parent.',
      ),
    agent: z
      .boolean()
      .default(true)
      .describe(
        'Work with the guest agent. With false nothing is asked of it: no hooks, no freeze, and children without an identity of their own, whose links stay down.',
      ),
    capture: z
      .enum(['auto', 'copy', 'background'])
      .optional()
      .describe(
        'How a running vm is captured. copy: what it has written is copied while it stands · background: it stands only while its memory is protected, and slows down while that is read · auto: copy, unless that is expected to take too long; so it is when left out.',
      ),
    maxPauseMs: Milliseconds.max(limits.pauseGoalMaxMs)
      .optional()
      .describe('Longest pause of a running vm that is forked, its disks’ part left out; refused when out of reach.'),
    image: frozen,
    cpus: frozen,
    memoryBytes: frozen,
    disks: frozen,
    nics: frozen,
    init: frozen,
  })
  .refine((fork) => fork.names === undefined || fork.names.length === fork.count, {
    path: ['names'],
    message: 'not as many as `count`',
  })
  .refine((fork) => fork.names === undefined || new Set(fork.names).size === fork.names.length, {
    path: ['names'],
    message: 'a name is given twice',
  })
  .refine((fork) => fork.agent || fork.files.length === 0, {
    path: ['files'],
    message: 'cannot be put into children without the guest agent',
  })
  .refine((fork) => fork.agent || fork.ports.length === 0, {
    path: ['ports'],
    message: 'cannot be published without the guest agent, which they go through',
  })
  .refine((fork) => fork.agent || Object.keys(fork.environment).length === 0, {
    path: ['environment'],
    message: 'cannot be set without the guest agent',
  })
  .refine((fork) => fork.agent || fork.idle === undefined, {
    path: ['idle'],
    message: 'cannot be kept without the guest agent: no call could reach them',
  })
  .refine((fork) => base64Chars(fork.files) <= Math.ceil(limits.injectedTotalBytes / 3) * 4, {
    path: ['files'],
    message: `larger than ${limits.injectedTotalBytes} bytes in all`,
  })
  .meta({ id: 'ForkRequest', description: 'Children to fork.', examples: [{ count: 10, namePrefix: 'worker' }] })
/** as the engine gets it, defaults filled in */
export type ForkRequest = z.infer<typeof ForkRequest>
/** as a caller writes it */
export type ForkRequestInput = z.input<typeof ForkRequest>

export const ForkedChild = z
  .discriminatedUnion('ok', [
    z.object({
      ok: z.literal(true).describe('This child was made.'),
      vm: Vm,
      timings: Timings,
    }),
    z.object({
      ok: z.literal(false).describe('This child was not made, and nothing of it is left.'),
      name: z.string().describe('Name it would have had.'),
      error: Problem,
    }),
  ])
  .meta({ id: 'ForkedChild', description: 'What became of one child.' })
export type ForkedChild = z.infer<typeof ForkedChild>

function base64Chars(files: InjectedFile[]): number {
  return files.reduce((chars, file) => chars + file.contentBase64.length, 0)
}

/** How a running vm was captured, and what the other ways would have cost. */
export const ForkCapture = z
  .object({
    way: z.enum(['copy', 'background']).describe('How its memory was captured.'),
    why: z.string().describe('Why this way, a sentence.'),
    deltaBytes: Bytes.describe('What the vm had written over its base, bytes.'),
    guestBytes: Bytes.describe('Its RAM, bytes.'),
    copyPauseMs: Milliseconds.describe('Pause expected of copying, the disks’ part left out, milliseconds.'),
    backgroundPauseMs: Milliseconds.describe('The same of the background, milliseconds.'),
    memory: z
      .enum(['delta', 'folded'])
      .describe('delta: each child has a copy of it over the same base · folded: all map a new base.'),
    deltaCostBytes: Bytes.describe('What the deltas of all children take, bytes.'),
    foldedCostBytes: Bytes.describe('What a new base takes, about all memory that is not zeros, bytes.'),
  })
  .meta({ id: 'ForkCapture', description: 'How a running vm was captured.' })
export type ForkCapture = z.infer<typeof ForkCapture>

/** One result per child, in the order of `forkIndex`. */
export const ForkResult = z
  .object({
    results: z.array(ForkedChild).describe('One per child, in order.'),
    timings: Timings.describe('Stages of the call as a whole, milliseconds.'),
    warnings: z
      .array(z.string())
      .optional()
      .describe('What a caller must know of these children, sentences: they are not what a fork otherwise makes.'),
    capture: ForkCapture.optional().describe('How the vm was captured; absent for the fork of a template.'),
  })
  .meta({ id: 'ForkResult', description: 'What a fork made.' })
export type ForkResult = z.infer<typeof ForkResult>
