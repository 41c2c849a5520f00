import type { ImageManifest } from '../../../guest/image/manifest.ts'
import type { PrefetchPolicy } from '../../api/snapshot.ts'
import { type Launched, launch } from '../../fork/launch.ts'
import { armIncoming, loadIncoming } from '../../qemu/incoming.ts'
import { assert } from '../../shared/assert.ts'
import { isRametError } from '../../shared/errors.ts'
import type { OperationHandle } from '../operations.ts'
import type { EngineParts } from '../parts.ts'
import type { RestoreRecord, SuspendedRecord, VmRecord } from '../records.ts'
import { endAllOf } from '../vm/release-vm.ts'
import { launchPlan } from '../vm/vm-plan.ts'
import { launchRestored } from './launch-restored.ts'
import { loadMemory } from './load-memory.ts'
import { checkpointPath, storedBase } from './restore-request.ts'

/** How the memory of a vm comes back. */
export interface Manner {
  /** default auto */
  policy?: PrefetchPolicy
  /** eager: before the guest runs; absent: lazily where this host can */
  mode?: 'lazy' | 'eager'
  /** told why it had to be eager, a sentence */
  warn?: (why: string) => void
}

interface BackOf {
  /** suspended, its disks in place */
  vm: VmRecord
  manifest: ImageManifest
  manner: Manner
}

/** A QEMU whose guest is there and stands. To be disposed of as soon as the vm's record says what it maps. */
export interface Brought extends AsyncDisposable {
  launched: Launched
  /** absent: all of its memory is there */
  restore: RestoreRecord | undefined
  /** base that it maps, if any */
  baseId: string | undefined
  loadMs: number
}

/**
 * Starts a QEMU for a vm that is suspended, and gives it its guest.
 *
 * @throws RametError as `launchRestored`, `loadMemory` and `loadIncoming`; nothing of it runs then
 */
export async function bringBack(parts: EngineParts, of: BackOf, handle: OperationHandle): Promise<Brought> {
  const { mode, warn } = of.manner
  if (mode === 'eager') return bringWhole(parts, of, handle)
  try {
    return await bringLazily(parts, of, handle)
  } catch (error) {
    if (mode === 'lazy' || !isRametError(error, 'HOST_UNFIT')) throw error
    const why = `memory is loaded before it runs: ${error.message} ${error.remediation}`
    parts.context.log.warn({ vm: of.vm.name }, why)
    warn?.(why)
    return bringWhole(parts, of, handle)
  }
}

async function bringLazily(
  parts: EngineParts,
  { vm, manifest, manner }: BackOf,
  handle: OperationHandle,
): Promise<Brought> {
  const { snapshotId, digest, fileBytes, baseOf } = suspendedOf(vm)
  const plan = launchPlan(parts.context, { vm, manifest, operationId: handle.id, restored: true })
  const from = {
    ...(snapshotId === undefined ? {} : { snapshotId }),
    checkpoint: { digest, fileBytes, ...(baseOf === undefined ? {} : { baseOf }) },
    policy: manner.policy ?? parts.context.settings.restorePolicy,
  }
  const launched = await launchRestored(parts, plan, { vm, from }, handle)
  return { ...launched, baseId: undefined, [Symbol.asyncDispose]: async () => {} }
}

async function bringWhole(parts: EngineParts, { vm, manifest }: BackOf, handle: OperationHandle): Promise<Brought> {
  const { context } = parts
  const suspended = suspendedOf(vm)
  const { digest, baseOf } = suspended
  const file = { path: checkpointPath(context, vm.id, suspended), digest }
  const base = baseOf === undefined ? {} : { base: storedBase(context, baseOf, vm.name) }
  const memory = await loadMemory(parts, { ...file, ...base, what: vm.name }, handle)
  const { baseId } = memory
  try {
    const mapped = await parts.bases.ofVm({ baseId })
    assert(mapped !== undefined, 'a base that was just loaded')
    const plan = launchPlan(context, { vm, manifest, operationId: handle.id, base: mapped })
    const launched = await launch(plan, { journal: context.journal, spawn: context.spawn }, handle.signal)
    const startMs = performance.now()
    try {
      await armIncoming(launched.qemu)
      await loadIncoming(launched.qemu, memory.stream(), { signal: handle.signal })
    } catch (error) {
      await launched.qemu.kill()
      throw error
    }
    const loadMs = performance.now() - startMs
    return { launched, restore: undefined, baseId, loadMs, [Symbol.asyncDispose]: () => memory.release() }
  } catch (error) {
    await endAllOf(context, vm.id)
    await memory.release()
    throw error
  }
}

function suspendedOf({ suspended }: VmRecord): SuspendedRecord {
  assert(suspended !== undefined, 'a suspended vm has a checkpoint')
  return suspended
}
