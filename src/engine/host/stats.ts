import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { readMetrics } from '../../agent/metrics.ts'
import type { VmStats } from '../../api/stats.ts'
import { openChain } from '../../disk/chain.ts'
import { diskUsage, privateDiskBytes } from '../../disk/usage.ts'
import { diskFile } from '../../fork/disk-file.ts'
import { readStat } from '../../host/process-identity.ts'
import { type Footprint, readFootprint } from '../../memory/footprint.ts'
import { RametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import type { EngineContext } from '../context.ts'
import type { EngineParts } from '../parts.ts'
import type { VmRecord } from '../records.ts'
import type { VmRuntime } from '../vm/vm-runtime.ts'

const noMemory: Footprint = { guestPrivateBytes: 0, guestSharedBytes: 0, guestSwappedBytes: 0, overheadBytes: 0 }

interface CpuSample {
  cpuMs: number
  atMs: number
}

/** What vms use, seen from the host and from inside. */
export class StatsReader {
  readonly #parts: EngineParts
  readonly #samples = new WeakMap<VmRuntime, CpuSample>()

  constructor(parts: EngineParts) {
    this.#parts = parts
  }

  async read(vm: VmRecord): Promise<VmStats> {
    const { context, runtimes } = this.#parts
    const runtime = runtimes.get(vm.id)
    const memory = this.memory(vm)
    const { deepest: _, ...disk } = await diskStats(context, vm)
    const guest = runtime === undefined ? undefined : await readGuest(runtime).catch(() => undefined)
    return {
      vmId: vm.id,
      name: vm.name,
      at: new Date(context.clock.nowMs()).toISOString(),
      ...this.#cpu(runtime),
      memory: {
        privateBytes: memory.guestPrivateBytes,
        sharedBytes: memory.guestSharedBytes,
        swappedBytes: memory.guestSwappedBytes,
        vmmBytes: memory.overheadBytes,
        ...(vm.limits.memoryBytes === undefined ? {} : { limitBytes: vm.limits.memoryBytes }),
      },
      disk,
      ...(guest === undefined ? {} : { guest }),
    }
  }

  /** Zeros for a vm that does not run. */
  memory(vm: VmRecord): Footprint {
    const runtime = this.#parts.runtimes.get(vm.id)
    if (runtime === undefined) return noMemory
    try {
      return readFootprint(runtime.ram(vm))
    } catch {
      // It is just coming up or going down.
      return noMemory
    }
  }

  #cpu(runtime: VmRuntime | undefined): Pick<VmStats, 'cpuSeconds' | 'cpuFraction'> {
    const stat = runtime === undefined ? undefined : readStat(runtime.qemu.identity.pid)
    if (runtime === undefined || stat === undefined) return { cpuSeconds: 0, cpuFraction: 0 }
    const now: CpuSample = { cpuMs: stat.cpuMs, atMs: performance.now() }
    const before = this.#samples.get(runtime)
    this.#samples.set(runtime, now)
    const elapsedMs = before === undefined ? 0 : now.atMs - before.atMs
    const cpuFraction = before === undefined || elapsedMs <= 0 ? 0 : (now.cpuMs - before.cpuMs) / elapsedMs
    return { cpuSeconds: now.cpuMs / 1000, cpuFraction }
  }
}

export async function diskStats(context: EngineContext, vm: VmRecord): Promise<VmStats['disk'] & { deepest: number }> {
  const sum = { privateBytes: 0, sharedBytes: 0, chainDepth: 0, deepest: 0 }
  for (const index of vm.disks.keys()) {
    const { imagesDir, templatesDir, deltasDir } = context.paths
    const file = (level: number) => join(context.paths.vm(vm.id), diskFile(index, level))
    const chain = await openChain(file(0), [imagesDir, templatesDir, deltasDir]).catch(() => undefined)
    if (chain === undefined) continue
    const usage = diskUsage(chain)
    const above = [1, 2].map(file).filter((path) => existsSync(path))
    for (const path of above) sum.privateBytes += await privateDiskBytes(path).catch(() => 0)
    // What is lent is read by others too, and no longer this vm's to write.
    sum[vm.disks[index]?.lent === undefined ? 'privateBytes' : 'sharedBytes'] += usage.privateBytes
    sum.sharedBytes += usage.sharedBytes
    const depth = usage.depth + above.length
    if (index === 0) sum.chainDepth = depth
    sum.deepest = Math.max(sum.deepest, depth)
  }
  return sum
}

async function readGuest(runtime: VmRuntime): Promise<NonNullable<VmStats['guest']>> {
  const session = runtime.guest.openSession
  if (session === undefined) throw new RametError('GUEST_UNREACHABLE', { message: 'there is no session' })
  const metrics = await readMetrics(session, { timeoutMs: limits.statsTimeoutMs })
  const of = (name: string) => Math.max(0, metrics.get(name) ?? 0)
  return {
    memoryTotalBytes: of('memory.total_bytes'),
    memoryAvailableBytes: of('memory.available_bytes'),
    cachedBytes: of('memory.cached_bytes'),
    processCount: of('processes'),
    diskTotalBytes: of('disk.total_bytes'),
    diskUsedBytes: Math.max(0, of('disk.total_bytes') - of('disk.free_bytes')),
    uptimeSeconds: of('uptime_ns') / 1e9,
  }
}
