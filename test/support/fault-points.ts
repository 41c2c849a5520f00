import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { repositoryRoot } from '../../tools/rules/source.ts'

/** Steps of a fork that starts its QEMU for itself, in order. */
export const forkFaults = [
  'launch.intended',
  'launch.directory',
  'launch.disks',
  'launch.network',
  'launch.spawned',
  'launch.connected',
  'fork.claim',
  'fork.claimed',
  'fork.loaded',
  'fork.running',
  'fork.identity',
  'fork.identified',
  'fork.recorded',
] as const

/** Steps of making a template after which a crash leaves the vm running and no template. */
export const undoneTemplateFaults = [
  'capture.frozen',
  'capture.paused',
  'template.stream',
  'base.intended',
  'template.stored',
] as const

/** Steps of making a template after which a crash leaves the template, and the vm consumed. */
export const finishedTemplateFaults = [
  'template.captured',
  'template.ended',
  'disk.seal.header',
  'disk.seal.moved',
  'template.disk',
  'template.sealed',
  'template.ready',
] as const

/** Steps of a fork of a running vm that a fork of a template has not, in order. */
export const liveFaults = [
  'disk-point.created',
  'live.frozen',
  'live.paused',
  'live.captured',
  'disk-point.merging',
  'disk-point.aside',
  'disk-point.merged',
] as const

/** Steps of lending a large disk delta to children, and of its way back, in order. */
export const frozenFaults = [
  'delta.recorded',
  'delta.linked',
  'delta.lent',
  'collapse.begun',
  'collapse.done',
  'delta.returned',
] as const

/** Steps of a capture in the background, in order. */
export const backgroundFaults = [
  'background.prepared',
  'background.paused',
  'background.resumed',
  'background.streaming',
  'background.streamed',
] as const

/**
 * Steps of a fork of a running vm at which a host that is full says so by an errno, in order. A crash there leaves
 * nothing that one at the steps beside them does not.
 */
export const fullHostFaults = ['memory.buffer', 'memory.base', 'process.spawn', 'base.kept', 'disk.copy'] as const

/** Steps of writing a checkpoint file, tried beside its writer (`src/checkpoint/file/write.test.ts`). */
export const checkpointFaults = ['checkpoint.block', 'checkpoint.sections'] as const

/** Steps of serving a restore, tried beside the page server (`src/checkpoint/serve/takeover.test.ts`). */
export const pageServerFaults = ['page-server.page'] as const
/** Steps of making a snapshot after which a crash leaves the vm running and no snapshot, in order. */
export const snapshotFaults = ['snapshot.recorded', 'snapshot.captured', 'snapshot.disk', 'snapshot.saved'] as const

/** Steps of an import: before the first nothing is known of it, after the last it is whole. */
export const importFaults = ['snapshot.received', 'snapshot.imported'] as const

/** After which a crash leaves the snapshot. */
export const finishedSnapshotFaults = ['snapshot.ready'] as const

/** Steps of a pause that nobody asked for, tried by `test/idle.test.ts`. */
export const idleFaults = ['idle.paused'] as const
/** Steps of putting a vm on disk after which a crash leaves it running, in order. */
export const undoneSuspendFaults = ['suspend.captured', 'suspend.saved'] as const

/** Steps of the same after which it is on disk. */
export const finishedSuspendFaults = ['suspend.recorded'] as const

/** Steps of a vm's coming back after which a crash leaves it on disk, in order. */
export const undoneResumeFaults = ['restore.served', 'restore.loaded', 'resume.recorded'] as const

/** Steps of the same after which it runs. */
export const finishedResumeFaults = ['resume.going', 'resume.running', 'resume.identified'] as const

/** Steps of a vm's going back to a snapshot after which a crash leaves it as it was, in order. */
export const undoneGoBackFaults = [
  'restore.begun',
  'restore.disks',
  'restore.back',
  'restore.placing',
  'restore.placed',
] as const

/** Steps of finding another page server for a guest that runs, in order. */
export const interruptedFaults = ['restore.interrupted', 'restore.listening', 'restore.taken-over'] as const

export const otherFaults = ['boot.recorded', 'remove.directory'] as const

/** Every fault point there is in the source, so that none is forgotten by the tests. */
export function allFaultPoints(): string[] {
  const names = new Set<string>()
  for (const file of globSync('src/**/*.ts', { cwd: repositoryRoot })) {
    if (file.endsWith('.test.ts')) continue
    const text = readFileSync(join(repositoryRoot, file), 'utf8')
    for (const [, name = ''] of text.matchAll(/\bfaultPoint\('([^']+)'\)/g)) names.add(name)
  }
  return [...names].sort()
}
