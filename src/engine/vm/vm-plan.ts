import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { type ImageManifest, diskFile as imageDiskFile, initrdFile, kernelFile } from '../../../guest/image/manifest.ts'
import type { VmCreate } from '../../api/vm-create.ts'
import type { DiskPlan, LaunchPlan } from '../../fork/launch.ts'
import { macOf } from '../../fork/seat.ts'
import { requireRoot } from '../../host/network-group.ts'
import type { ProcessUser } from '../../host/spawn-detached.ts'
import { defaultUidRange } from '../../host/uids.ts'
import type { OpenBase } from '../../memory/base.ts'
import { guestMemoryBytes } from '../../qemu/guest-memory.ts'
import type { MachineDescription } from '../../qemu/machine-description.ts'
import { assert } from '../../shared/assert.ts'
import { RametError } from '../../shared/errors.ts'
import { inventName, newId } from '../../shared/ids.ts'
import { formatBytes, limits } from '../../shared/limits.ts'
import type { EngineContext, HostFacts } from '../context.ts'
import type { Paths } from '../paths.ts'
import type { DiskRecord, ImageRecord, VmRecord } from '../records.ts'
import { imageRef } from './vm-view.ts'

const MiB = 1024 * 1024

/** A disk is made of whole sectors. */
const sectorBytes = 512

/** Guest memory of a vm that does not say. */
export const defaultMemoryBytes = 256 * MiB

type MachineRequest = Pick<VmCreate, 'cpus' | 'memoryBytes' | 'disks' | 'nics'>

function describeMachine(host: HostFacts, request: MachineRequest, manifest: ImageManifest): MachineDescription {
  const memoryBytes = guestMemoryBytes(request.memoryBytes ?? defaultMemoryBytes)
  const cpuCount = request.cpus ?? 1
  return {
    machine: host.machineType,
    accelerator: host.accelerator,
    cpuCount,
    cpuMaxCount: cpuCount,
    memoryBytes,
    memorySlotCount: 0,
    memoryMaxBytes: memoryBytes,
    diskCount: (manifest.disk === null ? 0 : 1) + (request.disks?.length ?? 0),
    nicCount: request.nics?.length ?? 1,
    sparePortCount: 1,
  }
}

/** Disks are made at the first start, which is late to learn that one cannot be. */
function checkDisks(disks: VmCreate['disks']): void {
  const sizes = (disks ?? []).map(({ sizeBytes }) => sizeBytes)
  const largest = Math.max(0, ...sizes)
  const odd = sizes.find((sizeBytes) => sizeBytes % sectorBytes !== 0)
  if (odd !== undefined) {
    throw new RametError('INVALID_ARGUMENT', {
      message: `a disk of ${odd} bytes cannot be made: it is not a multiple of ${sectorBytes}`,
    })
  }
  if (largest <= limits.diskMaxBytes) return
  throw new RametError('INVALID_ARGUMENT', {
    message: `a disk of ${formatBytes(largest)} cannot be made; the largest has ${formatBytes(limits.diskMaxBytes)}`,
    details: { sizeBytes: largest, maxBytes: limits.diskMaxBytes },
  })
}

/**
 * The record of a vm that shall boot an image: everything decided, nothing made yet.
 *
 * @throws RametError `INVALID_ARGUMENT`, `PRIVILEGE`
 */
export function planVm(
  context: EngineContext,
  request: VmCreate,
  image: ImageRecord,
  manifest: ImageManifest,
): VmRecord {
  checkDisks(request.disks)
  const id = newId('vm', context.random)
  const name = request.name ?? inventName(context.random)
  const rootDisk: DiskRecord[] =
    manifest.disk === null
      ? []
      : [
          {
            sizeBytes: manifest.disk.virtualBytes,
            base: { owner: 'image', ownerId: image.id, file: imageDiskFile },
          },
        ]
  const networks = request.nics ?? [{ network: 'isolated' as const }]
  if (networks.some(({ network }) => network === 'user')) requireRoot()
  return {
    schemaVersion: 1,
    id,
    name,
    state: 'created',
    source: { kind: 'image', id: image.id, name: imageRef(image) },
    imageId: image.id,
    imageName: imageRef(image),
    generation: 1,
    depth: 0,
    hostname: name,
    seat: context.seats.take(),
    generationId: randomUUID(),
    init: request.init ?? manifest.init,
    machine: describeMachine(context.host, request, manifest),
    disks: [...rootDisk, ...(request.disks ?? []).map(({ sizeBytes }) => ({ sizeBytes }))],
    nics: networks.map(({ network }, index) => ({ network, mac: macOf(id, index) })),
    link: 'up',
    labels: request.labels,
    environment: request.environment,
    ports: request.ports.map((port) => ({ ...port, hostPort: port.hostPort ?? 0 })),
    limits: request.limits,
    restart: request.restart,
    restartCount: 0,
    ...(request.ttlSeconds === undefined ? {} : { ttlMs: request.ttlSeconds * 1000 }),
    ...(request.idle === undefined ? {} : { idle: request.idle }),
    helpers: [],
    createdAtMs: context.clock.nowMs(),
  }
}

/** User and group that the QEMU of a seat runs as; undefined when it runs as the daemon itself. */
export function userOf(host: HostFacts, seat: number): ProcessUser | undefined {
  if (!host.userPerVm) return undefined
  const uid = defaultUidRange.first + seat
  return { uid, gid: uid, ...(host.kvmGroup === undefined ? {} : { groups: [host.kvmGroup] }) }
}

function basePath(paths: Paths, disk: DiskRecord): string | undefined {
  if (disk.base === undefined) return undefined
  const dir = disk.base.owner === 'image' ? paths.image(disk.base.ownerId) : paths.template(disk.base.ownerId)
  return join(dir, disk.base.file)
}

export function diskPlans(paths: Paths, disks: readonly DiskRecord[]): DiskPlan[] {
  return disks.map((disk) => {
    const path = basePath(paths, disk)
    return { sizeBytes: disk.sizeBytes, ...(path === undefined ? {} : { basePath: path }) }
  })
}

export interface LaunchOf {
  vm: VmRecord
  manifest: ImageManifest
  operationId: string
  /** absent: boots with fresh memory */
  base?: OpenBase
  /** its state comes to it, its memory too */
  restored?: true
}

/** How the QEMU of a vm is started. With a base it waits for the device state, when restored for all of it; else it boots. */
export function launchPlan(context: EngineContext, of: LaunchOf): LaunchPlan {
  const { vm, manifest, base } = of
  const { paths } = context
  const user = userOf(context.host, vm.seat)
  const imageDir = paths.image(vm.imageId)
  assert(manifest.id === vm.imageId, 'the manifest is that of the image')
  return {
    vmId: vm.id,
    operationId: of.operationId,
    seat: vm.seat,
    dir: paths.vm(vm.id),
    machine: vm.machine,
    boot: {
      kind: 'kernel',
      kernelPath: join(imageDir, kernelFile),
      initrdPath: join(imageDir, initrdFile),
      append: commandLine(manifest, vm.init),
    },
    disks: diskPlans(paths, vm.disks),
    nics: vm.nics,
    generationId: vm.generationId,
    incoming: base !== undefined || of.restored === true,
    hasRun: vm.startedAtMs !== undefined && base === undefined,
    ...(base === undefined ? {} : { base }),
    ...(user === undefined ? {} : { user }),
  }
}

function commandLine(manifest: ImageManifest, init: 'agent' | 'system'): string {
  return manifest.cmdline.replace(/\bramet\.init=\w+/, `ramet.init=${init}`)
}
