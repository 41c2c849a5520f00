import type { Image } from '../../api/image.ts'
import type { Snapshot } from '../../api/snapshot.ts'
import type { Template } from '../../api/template.ts'
import type { Vm } from '../../api/vm.ts'
import type { VmCreate } from '../../api/vm-create.ts'
import { newId } from '../../shared/ids.ts'

const MiB = 1024 * 1024

export const now = () => new Date().toISOString()

export function fakeVm(name: string, request: Partial<VmCreate>): Vm {
  return {
    id: newId('vm'),
    name,
    state: request.start === false ? 'created' : 'running',
    source: { kind: 'image', id: 'img-1', name: 'micro' },
    image: 'micro:latest',
    generation: 0,
    depth: 0,
    identity: 'own',
    init: 'agent',
    cpus: request.cpus ?? 1,
    memoryBytes: request.memoryBytes ?? 128 * MiB,
    disks: [],
    nics: [],
    link: 'up',
    labels: request.labels ?? {},
    environment: request.environment ?? {},
    ports: [],
    limits: request.limits ?? {},
    restart: request.restart ?? { mode: 'no' },
    restartCount: 0,
    ...(request.idle === undefined ? {} : { idle: request.idle }),
    createdAt: now(),
  }
}

export function fakeTemplate(name: string): Template {
  return {
    id: newId('tpl'),
    name,
    state: 'ready',
    source: { kind: 'vm', id: 'vm-1', name: 'web' },
    image: 'micro:latest',
    generation: 0,
    depth: 0,
    cpus: 1,
    memoryBytes: 128 * MiB,
    disks: [],
    nics: [],
    init: 'agent',
    resident: true,
    baseBytes: 128 * MiB,
    storedBytes: 20 * MiB,
    armed: 0,
    armedCount: 0,
    childCount: 0,
    labels: {},
    createdAt: now(),
  }
}

export function fakeSnapshot(name: string, vm: Vm, labels: Record<string, string> = {}): Snapshot {
  return {
    id: newId('snap'),
    name,
    state: 'ready',
    vm: { id: vm.id, name: vm.name },
    image: vm.image,
    machine: 'pc-q35-7.2',
    accelerator: 'tcg',
    qemuVersion: '7.2.0',
    cpus: vm.cpus,
    memoryBytes: vm.memoryBytes,
    disks: [],
    nics: [],
    memory: {
      storedBytes: 20 * MiB,
      pages: vm.memoryBytes / 4096,
      zeroPages: vm.memoryBytes / 8192,
      basePages: 0,
      order: 'virtual',
      orderReason: 'page tables of 4 levels were found, of 12 processes',
    },
    diskBytes: 0,
    digest: '00',
    restoreCount: 0,
    labels,
    createdAt: now(),
  }
}

export function fakeImage(name: string): Image {
  return {
    id: newId('img'),
    name,
    tag: 'latest',
    digest: '00',
    state: 'ready',
    kind: 'built',
    init: 'agent',
    diskBytes: 0,
    storedBytes: 20 * MiB,
    defaultMemoryBytes: 128 * MiB,
    kernel: '6.1',
    labels: {},
    vmCount: 0,
    createdAt: now(),
  }
}
