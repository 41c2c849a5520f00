import { z } from 'zod'
import { limits } from '../shared/limits.ts'
import { ForkedChild, InjectedFile } from './fork.ts'
import { Bytes, Labels, Milliseconds, Name, pageOf, Time } from './primitives.ts'
import { Problem } from './problem.ts'
import { Timings } from './timings.ts'
import { Disk, Nic } from './vm.ts'
import { runOptions, TtlSeconds } from './vm-create.ts'

/** creating: its memory and disks are being saved, the vm running on · ready: it can be restored · failed · removing */
export const snapshotStates = ['creating', 'ready', 'failed', 'removing'] as const
export type SnapshotState = (typeof snapshotStates)[number]

/** How a restore chooses the pages that it brings along with one that a guest waits for. */
export const prefetchPolicies = ['auto', 'none', 'physical', 'virtual', 'adaptive', 'recorded'] as const
export type PrefetchPolicy = (typeof prefetchPolicies)[number]

/** How memory comes to a vm that is restored. */
export const restoreModes = ['lazy', 'shared', 'eager'] as const
export type RestoreMode = (typeof restoreModes)[number]

export const SnapshotMemory = z
  .object({
    storedBytes: Bytes.describe('The checkpoint file, bytes.'),
    pages: z.int().positive().describe('Pages of the guest.'),
    zeroPages: z.int().nonnegative().describe('Of these, zeros: they take nothing.'),
    basePages: z.int().nonnegative().describe('Of these, read from the base of a template.'),
    order: z.enum(['virtual', 'physical']).describe('Order in which pages are stored.'),
    orderReason: z.string().describe('Why in that order, a sentence.'),
  })
  .meta({ id: 'SnapshotMemory', description: 'How the memory of a snapshot is stored.' })
export type SnapshotMemory = z.infer<typeof SnapshotMemory>

export const Snapshot = z
  .object({
    id: z.string().describe('Id.'),
    name: Name,
    state: z.enum(snapshotStates).describe('Where it is in its life.'),
    vm: z
      .object({ id: z.string().describe('Its id.'), name: z.string().describe('Its name at that time.') })
      .describe('The vm that it is of, which may be gone by now.'),
    image: z.string().describe('Image at the root of its lineage, as name:tag.'),
    templateId: z.string().optional().describe('Id of the template whose base it needs, if any.'),
    machine: z.string().describe('Machine type.'),
    accelerator: z.enum(['kvm', 'tcg']).describe('What the vm ran under; a restore needs the same.'),
    qemuVersion: z.string().describe('Version of the QEMU that saved it.'),
    cpus: z.int().positive().describe('Virtual processors.'),
    memoryBytes: Bytes.describe('Guest memory, bytes.'),
    disks: z.array(Disk).describe('Disks.'),
    nics: z.array(Nic.pick({ name: true, network: true })).describe('Network interfaces.'),
    memory: SnapshotMemory.optional(),
    diskBytes: Bytes.optional().describe('What the deltas of its disks take, bytes.'),
    digest: z.string().optional().describe('SHA-256 that stands for the checkpoint file, hex.'),
    restoreCount: z.int().nonnegative().describe('How often it was restored.'),
    workingSetPages: z
      .int()
      .nonnegative()
      .optional()
      .describe('Pages that an earlier restore used first, which the next begins with.'),
    labels: Labels,
    ttlSeconds: z.number().optional().describe('Time to live, seconds.'),
    expiresAt: Time.optional().describe('When it is removed by itself.'),
    failure: Problem.optional().describe('Why it could not be made, or what an export found damaged in it.'),
    timings: Timings.optional().describe('Stages of its making, milliseconds.'),
    createdAt: Time.describe('The moment that it is of.'),
  })
  .meta({ id: 'Snapshot', description: 'Memory, devices and disks of a vm at one moment.' })
export type Snapshot = z.infer<typeof Snapshot>

export const SnapshotPage = pageOf(Snapshot, 'SnapshotPage')

export const SnapshotCreate = z
  .strictObject({
    name: Name.optional().describe('Name; one is invented when left out.'),
    labels: Labels.default({}),
    ttlSeconds: TtlSeconds.optional().describe('Remove it by itself after this time, seconds.'),
    freeze: z.boolean().default(true).describe('Freeze the workload for the moment of the capture.'),
    agent: z.boolean().default(true).describe('Work with the guest agent; with false no hooks and no freeze.'),
    capture: z.enum(['auto', 'copy', 'background']).optional().describe('How a running vm is captured, as at a fork.'),
    maxPauseMs: Milliseconds.max(limits.pauseGoalMaxMs).optional().describe('Longest pause of the vm, milliseconds.'),
    full: z
      .boolean()
      .default(false)
      .describe('Store also pages that are as in the template, so that its memory needs no template to be restored.'),
  })
  .meta({ id: 'SnapshotCreate', description: 'A snapshot to make.' })
export type SnapshotCreate = z.infer<typeof SnapshotCreate>
export type SnapshotCreateInput = z.input<typeof SnapshotCreate>

export const SnapshotUpdate = z
  .strictObject({
    name: Name.optional(),
    labels: Labels.optional().describe('Replaces all labels.'),
    ttlSeconds: TtlSeconds.nullable().optional().describe('From now on, seconds; null for no end.'),
  })
  .meta({ id: 'SnapshotUpdate', description: 'What changes of a snapshot.' })
export type SnapshotUpdate = z.infer<typeof SnapshotUpdate>

/** Query of an import; the archive itself is the body. */
export const SnapshotImport = z
  .strictObject({ name: Name.optional().describe('Name; that of the archive when left out.') })
  .meta({ id: 'SnapshotImport', description: 'A snapshot to import.' })
export type SnapshotImport = z.infer<typeof SnapshotImport>

export const SnapshotRestore = z
  .strictObject({
    into: z
      .enum(['same', 'new'])
      .default('same')
      .describe(
        'same: the vm that it is of, with its name and id; one that is there must not run, and what it has written since is lost · new: other vms, each with an identity of its own.',
      ),
    count: z.int().min(1).max(limits.forkMaxCount).default(1).describe('New vms to make.'),
    names: z.array(Name).min(1).max(limits.forkMaxCount).optional().describe('Names, one for each new vm.'),
    namePrefix: Name.optional().describe('Names become prefix-0, prefix-1 and so on.'),
    ...runOptions,
    files: z.array(InjectedFile).max(limits.injectedFileCount).default([]).describe('Files to inject into new vms.'),
    link: z.enum(['up', 'down']).default('up').describe('Links of the interfaces once the identity is proved.'),
    mode: z
      .enum(restoreModes)
      .optional()
      .describe(
        'lazy: it runs before its memory has come · shared: loaded once, mapped by all · eager: loaded first. Left out: lazy for one, shared for several.',
      ),
    policy: z
      .enum(prefetchPolicies)
      .default('auto')
      .describe('What a lazy restore brings along with a page waited for.'),
    wait: z.enum(['running', 'ready']).default('ready').describe('running: the guest runs · ready: with its identity.'),
  })
  .refine((restore) => restore.into === 'new' || (restore.count === 1 && restore.names === undefined), {
    path: ['into'],
    message: 'must be `new` where there are names or a count',
  })
  .refine((restore) => restore.names === undefined || restore.names.length === restore.count, {
    path: ['names'],
    message: 'not as many as `count`',
  })
  .refine((restore) => restore.names === undefined || new Set(restore.names).size === restore.names.length, {
    path: ['names'],
    message: 'a name is given twice',
  })
  .meta({ id: 'SnapshotRestore', description: 'How a snapshot is restored.' })
export type SnapshotRestore = z.infer<typeof SnapshotRestore>
export type SnapshotRestoreInput = z.input<typeof SnapshotRestore>

export const SnapshotRestored = z
  .object({
    results: z.array(ForkedChild).describe('One per vm, in order.'),
    mode: z.enum(restoreModes).describe('How their memory comes.'),
    timings: Timings.describe('Stages of the call as a whole, milliseconds.'),
    warnings: z.array(z.string()).optional().describe('What a caller must know, sentences.'),
  })
  .meta({ id: 'SnapshotRestored', description: 'What a restore made.' })
export type SnapshotRestored = z.infer<typeof SnapshotRestored>
