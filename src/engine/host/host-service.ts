import { statfs } from 'node:fs/promises'
import { cpus, hostname } from 'node:os'
import { capabilities, type DoctorReport, type HostInfo } from '../../api/host.ts'
import type { Tree } from '../../api/tree.ts'
import type { Finding } from '../../host/finding.ts'
import { probeHost } from '../../host/probe-host.ts'
import { defaultUidRange } from '../../host/uids.ts'
import { offerToQemu } from '../../qemu/process.ts'
import { RametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import { rametVersion } from '../../shared/version.ts'
import type { MetricsSnapshot } from '../contract.ts'
import type { ForkParts } from '../fork/fork-parts.ts'
import { inParallel } from '../mutex.ts'
import type { Reaped } from '../recovery/reconcile.ts'
import { liveStates } from '../state.ts'
import { userOf } from '../vm/vm-plan.ts'
import { readHostStats } from './host-stats.ts'
import { diskStats, type StatsReader } from './stats.ts'
import { around, lineage } from './tree.ts'

/** What can be said of the host and of everything on it at once. */
export class HostService {
  readonly #parts: ForkParts
  readonly #stats: StatsReader
  readonly #startedAtMs: number
  /** what recovery removed, since the daemon started */
  reaped: Reaped = {}

  constructor(parts: ForkParts, stats: StatsReader) {
    this.#parts = parts
    this.#stats = stats
    this.#startedAtMs = parts.context.clock.nowMs()
  }

  async info(): Promise<HostInfo> {
    const { admission, context } = this.#parts
    const disk = await statfs(context.paths.dataDir)
    const memory = admission.capacity
    const vms = context.vms.list()
    return {
      id: context.host.bootId,
      name: hostname(),
      version: rametVersion,
      capabilities: [...capabilities],
      qemuVersion: context.host.qemuVersion,
      accelerator: context.host.accelerator,
      cpus: cpus().length,
      memoryTotalBytes: memory.totalBytes,
      memoryAvailableBytes: memory.startableBytes,
      diskTotalBytes: disk.blocks * disk.bsize,
      diskAvailableBytes: disk.bavail * disk.bsize,
      vmCount: vms.length,
      runningCount: vms.filter((vm) => vm.state === 'running').length,
      startedAt: new Date(this.#startedAtMs).toISOString(),
    }
  }

  async doctor(): Promise<DoctorReport> {
    const { context } = this.#parts
    const user = userOf(context.host, defaultUidRange.count - 1)
    const findings = await probeHost({
      userfaultfd: offerToQemu,
      dataDirectory: context.paths.dataDir,
      accelerator: async () => ({
        accelerator: context.host.accelerator,
        finding: context.host.acceleratorFinding,
      }),
      cgroups: context.cgroups,
      ...(user === undefined ? {} : { user }),
      uidRange: defaultUidRange,
    })
    return { usable: findings.every(({ level }) => level !== 'missing'), checks: findings.map(checkOf) }
  }

  async tree(ref?: string): Promise<Tree> {
    const { context } = this.#parts
    const whole = lineage({
      images: context.images.list(),
      templates: context.templates.list(),
      vms: context.vms.list(),
      snapshots: context.snapshots.list(),
    })
    if (ref === undefined) return this.#measured(whole)
    const node = whole.nodes.find((candidate) => candidate.id === ref || candidate.name === ref)
    if (node === undefined) throw new RametError('NOT_FOUND', { message: `nothing is called “${ref}”` })
    return this.#measured(around(whole, node.id))
  }

  /** Adds to each vm what it uses right now. */
  async #measured(tree: Tree): Promise<Tree> {
    const { context } = this.#parts
    const nodes = await inParallel(tree.nodes, limits.treeReadCount, async (node) => {
      const vm = node.kind === 'vm' ? context.vms.get(node.id) : undefined
      if (vm === undefined) return node
      const memory = this.#stats.memory(vm)
      const disk = await diskStats(context, vm)
      return {
        ...node,
        ...(liveStates.has(vm.state)
          ? { memory: { privateBytes: memory.guestPrivateBytes, sharedBytes: memory.guestSharedBytes } }
          : {}),
        ...(vm.disks.length === 0 ? {} : { disk: { privateBytes: disk.privateBytes, sharedBytes: disk.sharedBytes } }),
        ...(disk.deepest === 0 ? {} : { chainDepth: disk.deepest }),
      }
    })
    return { nodes }
  }

  async metrics(): Promise<MetricsSnapshot> {
    const { context, armed, bases, restores } = this.#parts
    const vms = context.vms.list()
    const footprints = vms.filter((vm) => liveStates.has(vm.state)).map((vm) => this.#stats.memory(vm))
    const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0)
    const templates = context.templates.list()
    return {
      vmsByState: countBy(vms.map(({ state }) => state)),
      templatesByState: countBy(
        templates.map((template) =>
          template.state === 'ready' && !bases.isResident(template) ? ('stored' as const) : template.state,
        ),
      ),
      snapshotsByState: countBy(context.snapshots.list().map(({ state }) => state)),
      operationsByState: countBy(context.operations.list().map(({ state }) => state)),
      armedCount: armed.total(),
      fillingCount: restores.fillingCount,
      privateBytes: sum(footprints.map(({ guestPrivateBytes }) => guestPrivateBytes)),
      sharedBytes: sum(footprints.map(({ guestSharedBytes }) => guestSharedBytes)),
      vmmBytes: sum(footprints.map(({ overheadBytes }) => overheadBytes)),
      baseBytes: sum(templates.filter((template) => bases.isResident(template)).map(({ baseBytes }) => baseBytes)),
      diskChainDepth: Math.max(0, ...vms.map((vm) => (vm.disks.some((disk) => disk.base !== undefined) ? 2 : 0))),
      host: await readHostStats(this.#parts),
      orphansReaped: this.reaped,
    }
  }
}

function checkOf(finding: Finding): DoctorReport['checks'][number] {
  return {
    id: finding.name,
    title: finding.name,
    verdict: finding.level,
    detail: finding.finding,
    ...(finding.remedy === '' ? {} : { remedy: finding.remedy }),
  }
}

function countBy<T extends string>(values: readonly T[]): Partial<Record<T, number>> {
  const counts: Partial<Record<T, number>> = {}
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1
  return counts
}
