import type { VmLimits } from '../../api/vm.ts'
import { type ReadMemoryInfo, readMemoryInfo } from '../../host/meminfo.ts'
import { holeBytes } from '../../memory/base.ts'
import { RametError } from '../../shared/errors.ts'
import { formatBytes } from '../../shared/limits.ts'
import type { EngineContext } from '../context.ts'
import type { StartNeed } from '../host/capacity.ts'
import type { EngineParts } from '../parts.ts'
import type { VmRecord } from '../records.ts'
import type { EngineSettings } from '../settings.ts'

const MiB = 1024 * 1024

/**
 * QEMU's own memory beside the guest's, measured at its largest under emulation (tables of translated
 * code included), rounded up; see docs/spec.md. Half of it is enough with hardware virtualisation.
 */
export const vmmOverheadBytes = 160 * MiB

/** What the start of a vm needs that comes with `guestBytes` of memory. */
export function startNeed(what: string, guestBytes: number): StartNeed {
  return { what, guestBytes, vmmBytes: vmmOverheadBytes }
}

/** Of one whose memory comes from a checkpoint while it runs. Without a fill no more comes than the guest asks for. */
export function lazyNeed(what: string, guestBytes: number, fill: EngineSettings['restoreFill']): StartNeed {
  return { ...startNeed(what, fill === 'none' ? 0 : guestBytes), isLazy: true }
}

/**
 * A memory limit below what guest and QEMU can come to use together would end in the kernel killing QEMU,
 * so it is refused.
 *
 * @throws RametError `INVALID_ARGUMENT`
 */
export function checkLimits(limits: VmLimits, memoryBytes: number): void {
  if (limits.memoryBytes === undefined) return
  const least = memoryBytes + vmmOverheadBytes
  if (limits.memoryBytes >= least) return
  throw new RametError('INVALID_ARGUMENT', {
    message: `a memory limit of ${formatBytes(limits.memoryBytes)} is below the ${formatBytes(memoryBytes)} of the guest and up to ${formatBytes(vmmOverheadBytes)} of QEMU`,
    remediation: `Set it to at least ${formatBytes(least)}, or leave it out.`,
    details: { leastBytes: least },
  })
}

/**
 * What this host can never run is refused when it is described, not when it is started.
 *
 * @throws RametError `NO_CAPACITY`
 */
export function checkHostHolds(memoryBytes: number, readMemory: ReadMemoryInfo = readMemoryInfo): void {
  const { totalBytes } = readMemory()
  if (memoryBytes <= totalBytes) return
  throw new RametError('NO_CAPACITY', {
    message: `a guest of ${formatBytes(memoryBytes)} is more than this host has: ${formatBytes(totalBytes)}`,
    remediation: 'Ask for less memory.',
    details: { neededBytes: memoryBytes, totalBytes },
  })
}

/**
 * Puts a vm's QEMU into a control group of its own when it has limits, or sets those of the group it is in.
 *
 * A child may also be charged for pages of its base: the kernel charges a hole to whoever touches it first
 * (see docs/decisions/0001). Those are not the child's own, so room for them comes on top of its limit.
 */
export async function confine(parts: EngineParts, vm: VmRecord, pid: number): Promise<void> {
  const { journal, cgroups } = parts.context
  const { memoryBytes, cpuCores } = vm.limits
  const isConfined = journal.openOf(vm.id).some(({ kind }) => kind === 'cgroup')
  if (memoryBytes === undefined && cpuCores === undefined && !isConfined) return
  const sharedBytes = memoryBytes === undefined ? 0 : await holesUnder(parts, vm)
  if (!isConfined) journal.intend([{ operation: 'confine', owner: vm.id, kind: 'cgroup', ident: { name: vm.id } }])
  cgroups.create(vm.id, {
    ...(memoryBytes === undefined ? {} : { memoryMaxBytes: memoryBytes + sharedBytes }),
    ...(cpuCores === undefined ? {} : { cpuCores }),
  })
  cgroups.add(vm.id, pid)
}

async function holesUnder(parts: EngineParts, vm: VmRecord): Promise<number> {
  if (vm.baseId === undefined) return 0
  const template = parts.context.templates.get(vm.templateId ?? '')
  if (template !== undefined && parts.bases.isResident(template)) return holeBytes(await parts.bases.of(template))
  // What the vm maps cannot be looked at any more; this is the most that it can be.
  return vm.machine.memoryBytes
}

/** Whether the kernel killed the vm for going over its memory limit. */
export function wasKilledForMemory(context: EngineContext, vm: VmRecord): boolean {
  if (vm.limits.memoryBytes === undefined) return false
  try {
    return context.cgroups.usage(vm.id).oomKillCount > 0
  } catch {
    return false
  }
}
