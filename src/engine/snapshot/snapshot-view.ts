import type { Snapshot } from '../../api/snapshot.ts'
import type { SnapshotRecord } from '../records.ts'
import { diskView, nicName } from '../vm/vm-view.ts'

const iso = (ms: number) => new Date(ms).toISOString()

/** A snapshot as the API shows it. */
export function snapshotView(snapshot: SnapshotRecord): Snapshot {
  const { vm, checkpoint } = snapshot
  return {
    id: snapshot.id,
    name: snapshot.name,
    state: snapshot.state,
    vm: { id: vm.id, name: vm.name },
    image: vm.imageName,
    ...(checkpoint?.baseOf === undefined ? {} : { templateId: checkpoint.baseOf }),
    machine: vm.machine.machine,
    accelerator: vm.machine.accelerator,
    qemuVersion: snapshot.qemuVersion,
    cpus: vm.machine.cpuCount,
    memoryBytes: vm.machine.memoryBytes,
    disks: vm.disks.map(diskView),
    nics: vm.nics.map(({ network }, index) => ({ name: nicName(index), network })),
    ...(snapshot.memory === undefined ? {} : { memory: snapshot.memory }),
    ...(snapshot.diskBytes === undefined ? {} : { diskBytes: snapshot.diskBytes }),
    ...(checkpoint === undefined ? {} : { digest: checkpoint.digest }),
    restoreCount: snapshot.restoreCount,
    ...(snapshot.workingSetPages === undefined ? {} : { workingSetPages: snapshot.workingSetPages }),
    labels: snapshot.labels,
    ...(snapshot.ttlMs === undefined ? {} : { ttlSeconds: snapshot.ttlMs / 1000 }),
    ...(snapshot.expiresAtMs === undefined ? {} : { expiresAt: iso(snapshot.expiresAtMs) }),
    ...(snapshot.failure === undefined ? {} : { failure: snapshot.failure }),
    ...(snapshot.timings === undefined ? {} : { timings: snapshot.timings }),
    createdAt: iso(snapshot.createdAtMs),
  }
}
