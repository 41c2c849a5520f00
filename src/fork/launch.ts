import { existsSync } from 'node:fs'
import { chown, mkdir, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { Journal } from '../cluster/journal.ts'
import { cloneDisk } from '../disk/clone.ts'
import { createDisk } from '../disk/create.ts'
import { readLayer } from '../disk/layer.ts'
import type { ProcessIdentity } from '../host/process-identity.ts'
import type { ProcessUser, SpawnDetached } from '../host/spawn-detached.ts'
import type { OpenBase } from '../memory/base.ts'
import { machineFiles } from '../qemu/machine.ts'
import type { Boot, MachineDescription, NicSource } from '../qemu/machine-description.ts'
import { type QemuProcess, startQemu } from '../qemu/process.ts'
import { startUserNetwork } from '../qemu/user-network.ts'
import { RametError } from '../shared/errors.ts'
import { faultPoint } from '../shared/fault.ts'
import { diskFile } from './disk-file.ts'
import type { DiskSeed } from './disk-seed.ts'
import { addressOf, gatewayOf } from './seat.ts'

export interface DiskPlan {
  sizeBytes: number
  /** immutable file under the delta, absolute; absent for an empty disk */
  basePath?: string
  /** what the disk begins with; absent: empty over its base */
  seed?: DiskSeed
}

export interface NicPlan {
  network: 'isolated' | 'user' | 'none'
  mac: string
}

/** One QEMU to start: for a boot, or armed for a fork. */
export interface LaunchPlan {
  vmId: string
  /** operation that acquires what is acquired here, for the journal */
  operationId: string
  seat: number
  /** directory to make; QEMU's working directory */
  dir: string
  machine: MachineDescription
  boot: Boot
  /** base to map; fresh memory when left out */
  base?: OpenBase
  disks: readonly DiskPlan[]
  nics: readonly NicPlan[]
  generationId: string
  incoming: boolean
  user?: ProcessUser
  /** whether it has run before, so that its disks are there; one that is missing is then an error, not made anew */
  hasRun?: boolean
  /** told while a delta is copied */
  onDiskProgress?: (doneBytes: number, totalBytes: number) => void
}

export interface LaunchTools {
  journal: Journal
  spawn: SpawnDetached
  binary?: string
}

export interface Launched {
  qemu: QemuProcess
  helpers: ProcessIdentity[]
  diskMs: number
  spawnMs: number
}

const nicSocket = (index: number) => `nic${index}.sock`

/**
 * Makes a vm's directory and delta disks and starts its QEMU, which then waits on QMP. Everything is
 * journalled before it is made; the caller undoes what is left of a launch that failed, which the journal names.
 *
 * @throws RametError `VMM_FAILED`, `NO_SPACE`, `HOST_UNFIT`, or the signal's reason
 */
export async function launch(plan: LaunchPlan, tools: LaunchTools, signal?: AbortSignal): Promise<Launched> {
  const { journal } = tools
  const owner = plan.vmId
  const common = { operation: plan.operationId, owner }
  const [, processId = 0] = journal.intend([
    { ...common, kind: 'directory', ident: { name: basename(plan.dir) } },
    { ...common, kind: 'process', ident: { role: 'qemu', name: basename(plan.dir) } },
  ])
  faultPoint('launch.intended')
  const diskStartMs = performance.now()
  await makeDirectory(plan)
  faultPoint('launch.directory')
  for (const [index, disk] of plan.disks.entries()) await makeDisk(plan, disk, index, signal)
  faultPoint('launch.disks')
  const diskMs = performance.now() - diskStartMs
  signal?.throwIfAborted()
  const spawnStartMs = performance.now()
  const { nics, helpers } = await connectNics(plan, tools, signal)
  faultPoint('launch.network')
  const qemu = await startQemu({
    dir: plan.dir,
    machine: plan.machine,
    seat: {
      boot: plan.boot,
      memory: plan.base === undefined ? { kind: 'anonymous' } : { kind: 'base' },
      disks: plan.disks.map((_, index) => ({ path: diskFile(index) })),
      nics,
      generationId: plan.generationId,
      incoming: plan.incoming,
    },
    spawn: tools.spawn,
    ...(tools.binary === undefined ? {} : { binary: tools.binary }),
    ...(plan.user === undefined ? {} : { user: plan.user }),
    ...(plan.base === undefined ? {} : { memoryFd: plan.base.fd }),
    ...(signal === undefined ? {} : { signal }),
    onSpawn: (identity) => {
      faultPoint('launch.spawned')
      journal.hold([{ id: processId, ident: { role: 'qemu', name: basename(plan.dir), ...identity } }])
    },
  })
  faultPoint('launch.connected')
  return { qemu, helpers, diskMs, spawnMs: performance.now() - spawnStartMs }
}

/** The directory may be there from an earlier run, with disks that are kept and sockets that nobody answers. */
async function makeDirectory(plan: LaunchPlan): Promise<void> {
  await mkdir(plan.dir, { recursive: true, mode: 0o700 })
  if (plan.user !== undefined) await chown(plan.dir, plan.user.uid, plan.user.gid)
  const stale = [
    machineFiles.qmp,
    machineFiles.rescue,
    machineFiles.agent,
    ...plan.nics.map((_, index) => nicSocket(index)),
  ]
  await Promise.all(stale.map((name) => rm(join(plan.dir, name), { force: true })))
}

async function makeDisk(plan: LaunchPlan, disk: DiskPlan, index: number, signal?: AbortSignal): Promise<void> {
  const path = join(plan.dir, diskFile(index))
  // Disks get their name when they are whole, so one that is there is the vm's own.
  if (existsSync(path)) return
  if (plan.hasRun === true) {
    throw new RametError('BASE_DAMAGED', {
      message: `disk ${index} of ${plan.vmId} is missing: ${path}`,
      remediation: 'Put the file back, or remove the VM; what was on that disk is gone.',
    })
  }
  const { seed } = disk
  if (seed?.kind === 'copy') {
    await cloneDisk({ ...seed, to: path, owner: plan.user, signal, onProgress: plan.onDiskProgress })
    return
  }
  const basePath = seed?.over ?? disk.basePath
  await createDisk({
    path,
    virtualBytes: disk.sizeBytes,
    ...(basePath === undefined ? {} : { base: await readLayer(basePath) }),
    owner: plan.user,
  })
}

interface ConnectedNics {
  nics: NicSource[]
  helpers: ProcessIdentity[]
}

async function connectNics(plan: LaunchPlan, tools: LaunchTools, signal?: AbortSignal): Promise<ConnectedNics> {
  const helpers: ProcessIdentity[] = []
  const nics: NicSource[] = []
  for (const [index, nic] of plan.nics.entries()) {
    if (nic.network !== 'user') {
      nics.push({ mac: nic.mac, network: { kind: 'unconnected' } })
      continue
    }
    const socketName = nicSocket(index)
    const ident = { role: 'passt', name: basename(plan.dir), socketName }
    const [networkId = 0] = tools.journal.intend([
      { operation: plan.operationId, owner: plan.vmId, kind: 'network', ident },
    ])
    const { identity } = await startUserNetwork({
      dir: plan.dir,
      socketName,
      address: addressOf(plan.seat, index),
      gateway: gatewayOf(index),
      spawn: tools.spawn,
      ...(plan.user === undefined ? {} : { user: plan.user }),
      ...(signal === undefined ? {} : { signal }),
      onSpawn: (passt) => tools.journal.hold([{ id: networkId, ident: { ...ident, ...passt } }]),
    })
    helpers.push(identity)
    nics.push({ mac: nic.mac, network: { kind: 'stream', socketPath: socketName } })
  }
  return { nics, helpers }
}
