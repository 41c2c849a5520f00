import type { VmInfo } from '../client/index.ts'
import { formatBytes } from '../shared/limits.ts'
import { formatAge } from './format.ts'
import type { Column } from './output.ts'

export const portText = (port: { guestPort: number; hostPort: number; hostAddress: string }): string =>
  `${port.guestPort}→${port.hostAddress.includes(':') ? `[${port.hostAddress}]` : port.hostAddress}:${port.hostPort}`

const addressOf = (vm: VmInfo) => vm.nics.find((nic) => nic.ip !== undefined)?.ip?.replace(/\/\d+$/, '') ?? '-'

/** What is out of the ordinary about a vm, for those who look at a list. */
function noteOf(vm: VmInfo): string {
  if (vm.restore?.state === 'failed' && vm.stateReason !== undefined) return vm.stateReason
  if (vm.idlePaused) return 'paused by itself'
  if (vm.identity === 'none') return 'no identity, links down'
  return vm.frozenAtFork === false ? 'not frozen at fork' : ''
}

/** How vms are listed: with a column of notes when there is one. */
export function vmColumnsFor(vms: readonly VmInfo[]): readonly Column<VmInfo>[] {
  return vms.some((vm) => noteOf(vm) !== '') ? [...vmColumns, { heading: 'NOTE', of: noteOf }] : vmColumns
}

const vmColumns: readonly Column<VmInfo>[] = [
  { heading: 'NAME', of: (vm) => vm.name },
  { heading: 'STATE', of: (vm) => vm.state },
  { heading: 'FROM', of: (vm) => vm.source.name },
  { heading: 'GEN', of: (vm) => String(vm.generation) },
  { heading: 'CPUS', of: (vm) => String(vm.cpus) },
  { heading: 'MEMORY', of: (vm) => formatBytes(vm.memoryBytes) },
  { heading: 'ADDRESS', of: addressOf },
  { heading: 'PORTS', of: (vm) => vm.ports.map(portText).join(' ') || '-' },
  { heading: 'AGE', of: (vm) => formatAge(vm.createdAt) },
]
