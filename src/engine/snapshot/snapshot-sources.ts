import { join } from 'node:path'
import { restoreSchedule } from '../../agent/opening.ts'
import type { PrefetchPolicy } from '../../api/snapshot.ts'
import { requireSpace } from '../../disk/space.ts'
import { privateDiskBytes } from '../../disk/usage.ts'
import { diskFile } from '../../fork/disk-file.ts'
import { canReflink } from '../../host/probe-storage.ts'
import { pageBytes } from '../../memory/base.ts'
import type { EngineContext } from '../context.ts'
import type { ForkParent } from '../fork/child.ts'
import type { ForkParts } from '../fork/fork-parts.ts'
import { type ForkSource, loadingStream } from '../fork/fork-source.ts'
import type { ChildDisk } from '../fork/live-disks.ts'
import type { SnapshotRecord } from '../records.ts'
import type { LoadedMemory } from '../restore/load-memory.ts'
import { lazyNeed, startNeed } from '../vm/limits-of-vm.ts'
import type { Restorable } from './restorable.ts'

/**
 * How the disks of a restored vm begin: as copies of the snapshot's, so that nothing hangs on the snapshot.
 *
 * @param copies of each
 * @throws RametError `NO_SPACE`
 */
export async function snapshotDisks(
  { paths }: EngineContext,
  { id, name, vm }: SnapshotRecord,
  copies: number,
): Promise<ChildDisk[]> {
  const reflink = vm.disks.length > 0 && (await canReflink(paths.vmsDir))
  const files = vm.disks.map((_, index) => join(paths.snapshot(id), diskFile(index)))
  if (!reflink) {
    const bytes = await Promise.all(files.map(privateDiskBytes))
    const neededBytes = copies * bytes.reduce((sum, each) => sum + each, 0)
    await requireSpace(paths.dataDir, neededBytes, `the disks of snapshot ${name}, ${copies} times`)
  }
  return files.map((from) => ({ seed: { kind: 'copy', from, reflink }, frozen: [] }))
}

function parentOf({ id, name, vm }: SnapshotRecord, disks: readonly ChildDisk[]): ForkParent {
  const ancestors = [...(vm.ancestors ?? []), { kind: 'vm' as const, id: vm.id, name: vm.name }]
  return { source: { kind: 'snapshot', id, name }, record: { ...vm, ancestors }, disks }
}

/** Memory that comes to whatever is restored of a snapshot: all but zeros. */
export function guestBytesOf({ memory, vm }: SnapshotRecord): number {
  return memory === undefined ? vm.machine.memoryBytes : (memory.pages - memory.zeroPages) * pageBytes
}

/** What children of a snapshot have in common, however their memory comes. */
function common(snapshot: SnapshotRecord): Pick<ForkSource, 'isFrozen' | 'hasForkHooks' | 'linksDown' | 'take'> {
  const { frozen: isFrozen, hasForkHooks } = snapshot
  return { isFrozen, hasForkHooks, linksDown: false, take: () => undefined }
}

/** Children that run before their memory has come: each has a restore of its own. */
export function lazySource(
  parts: ForkParts,
  { snapshot, checkpoint }: Restorable,
  { disks, policy }: { disks: readonly ChildDisk[]; policy: PrefetchPolicy },
): ForkSource {
  const { context, restores } = parts
  const from = { snapshotId: snapshot.id, checkpoint, policy }
  // The same for all of them; the first process is started meanwhile.
  void restores.expect(snapshot.vm.id, from)
  return {
    parent: parentOf(snapshot, disks),
    ...common(snapshot),
    need: (name) => lazyNeed(`restoring ${name}`, guestBytesOf(snapshot), context.settings.restoreFill),
    opening: restoreSchedule,
    load: async (vm, qemu, signal) => {
      const restore = await restores.begin(vm, qemu, from, signal)
      // For streams that are loaded whole: nothing comes on it.
      qemu.incoming?.destroy()
      await context.vms.update(vm.id, { restore })
      await restores.recorded(vm.id)
    },
  }
}

/** Children that map one base, loaded before. */
export function sharedSource(
  { snapshot }: Restorable,
  { baseId, stream }: LoadedMemory,
  disks: readonly ChildDisk[],
): ForkSource {
  return {
    parent: { ...parentOf(snapshot, disks), baseId },
    ...common(snapshot),
    need: (name) => startNeed(`restoring ${name}`, 0),
    ...loadingStream(async () => stream()),
  }
}
