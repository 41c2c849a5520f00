import type { Template } from '../../api/template.ts'
import type { Disk, Nic, Vm } from '../../api/vm.ts'
import { addressOf } from '../../fork/seat.ts'
import { linksUp } from '../guest/agentless.ts'
import type { DiskRecord, ImageRecord, TemplateRecord, VmRecord } from '../records.ts'
import { publicReport } from '../restore/figures.ts'
import { lostMemoryOf } from '../restore/lost-memory.ts'

const iso = (ms: number) => new Date(ms).toISOString()

/** Name of a disk's device in the guest. */
export const diskName = (index: number): string => `vd${String.fromCharCode(97 + index)}`

export function diskView(disk: DiskRecord, index: number): Disk {
  return {
    name: diskName(index),
    sizeBytes: disk.sizeBytes,
    readOnly: false,
    ...(disk.base === undefined ? {} : { base: disk.base.ownerId }),
  }
}

/** Name of an interface in the guest. */
export const nicName = (index: number): string => `eth${index}`

function nicView(vm: VmRecord): Nic[] {
  return vm.nics.map((nic, index) => ({
    name: nicName(index),
    network: nic.network,
    mac: nic.mac,
    // One without an identity of its own has its parent's, which is no address of it.
    ...(nic.network === 'none' || vm.identity === 'none' ? {} : { ip: addressOf(vm.seat, index) }),
  }))
}

/** A vm as the API shows it. */
export function vmView(vm: VmRecord): Vm {
  const stateReason = vm.stateReason ?? lostMemoryOf(vm)
  return {
    id: vm.id,
    name: vm.name,
    state: vm.state,
    ...(stateReason === undefined ? {} : { stateReason }),
    source: vm.source,
    image: vm.imageName,
    ...(vm.parentId === undefined ? {} : { parentId: vm.parentId }),
    ...(vm.templateId === undefined ? {} : { templateId: vm.templateId }),
    generation: vm.generation,
    depth: vm.depth,
    ...(vm.forkIndex === undefined ? {} : { forkIndex: vm.forkIndex }),
    identity: vm.identity ?? 'own',
    ...(vm.parentId === undefined ? {} : { frozenAtFork: vm.frozenAtFork ?? true }),
    hostname: vm.hostname,
    init: vm.init,
    cpus: vm.machine.cpuCount,
    memoryBytes: vm.machine.memoryBytes,
    disks: vm.disks.map(diskView),
    nics: nicView(vm),
    link: linksUp(vm) ? 'up' : 'down',
    labels: vm.labels,
    environment: vm.environment,
    ports: vm.ports,
    limits: vm.limits,
    restart: vm.restart,
    restartCount: vm.restartCount,
    ...(vm.ttlMs === undefined ? {} : { ttlSeconds: vm.ttlMs / 1000 }),
    ...(vm.expiresAtMs === undefined ? {} : { expiresAt: iso(vm.expiresAtMs) }),
    ...(vm.idle === undefined ? {} : { idle: vm.idle }),
    ...(vm.idlePaused === undefined ? {} : { idlePaused: true }),
    ...(vm.process === undefined ? {} : { pid: vm.process.pid }),
    ...(vm.restore === undefined ? {} : { restore: publicReport(vm.restore) }),
    ...(vm.suspended === undefined ? {} : { suspendedBytes: vm.suspended.fileBytes }),
    ...(vm.failure === undefined ? {} : { failure: vm.failure }),
    ...(vm.timings === undefined ? {} : { timings: vm.timings }),
    createdAt: iso(vm.createdAtMs),
    ...(vm.startedAtMs === undefined ? {} : { startedAt: iso(vm.startedAtMs) }),
    ...(vm.stoppedAtMs === undefined ? {} : { stoppedAt: iso(vm.stoppedAtMs) }),
  }
}

export interface TemplateFacts {
  resident: boolean
  armedCount: number
  childCount: number
}

/** A template as the API shows it. */
export function templateView(template: TemplateRecord, facts: TemplateFacts): Template {
  return {
    id: template.id,
    name: template.name,
    state: template.state === 'ready' && !facts.resident ? 'stored' : template.state,
    source: template.source,
    image: template.imageName,
    ...(template.parentId === undefined ? {} : { parentId: template.parentId }),
    generation: template.generation,
    depth: template.depth,
    cpus: template.machine.cpuCount,
    memoryBytes: template.machine.memoryBytes,
    disks: template.disks.map(diskView),
    nics: template.nics,
    init: template.init,
    resident: facts.resident,
    baseBytes: template.baseBytes,
    storedBytes: template.storedBytes,
    armed: template.armed,
    armedCount: facts.armedCount,
    childCount: facts.childCount,
    labels: template.labels,
    ...(template.agentProtocol === undefined ? {} : { agentProtocol: template.agentProtocol }),
    qemuVersion: template.qemuVersion,
    machine: template.machine.machine,
    ...(template.failure === undefined ? {} : { failure: template.failure }),
    ...(template.timings === undefined ? {} : { timings: template.timings }),
    createdAt: iso(template.createdAtMs),
  }
}

/** How a user names an image. */
export function imageRef(image: Pick<ImageRecord, 'name' | 'tag'>): string {
  return `${image.name}:${image.tag}`
}
