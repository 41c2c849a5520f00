import { join } from 'node:path'
import { requireSpace } from '../../disk/space.ts'
import { privateDiskBytes } from '../../disk/usage.ts'
import { diskFile } from '../../fork/disk-file.ts'
import { mergeDisks, prepareDiskPoint, readLevels } from '../../fork/disk-point.ts'
import type { DiskSeed } from '../../fork/disk-seed.ts'
import { canReflink } from '../../host/probe-storage.ts'
import type { QemuProcess } from '../../qemu/process.ts'
import { asRametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import { floorsOf } from '../disk/settling.ts'
import type { EngineParts } from '../parts.ts'
import type { VmRecord } from '../records.ts'
import { userOf } from '../vm/vm-plan.ts'

/** The disks of a running vm that is about to be captured. */
export interface LiveDisks {
  /** level of each disk that will stand still: for `freezeDisks` */
  levels: readonly number[]
  /** how each child's disk begins, once the disks are frozen */
  seeds(): Promise<ChildDisk[]>
  /** lets go of what stood still, when all children have their disks or none will be made; never throws */
  release(): Promise<void>
}

/** What a child's disk begins with. */
export interface ChildDisk {
  seed: DiskSeed
  /** frozen deltas under its own, nearest first */
  frozen: string[]
}

/** What is made of the disks. */
export interface DisksWanted {
  /** how often each is copied, where it is */
  copies: number
  /** whether a large delta may be lent, to whoever collapses it in the background */
  mayLend: boolean
  /** for messages: “a fork of web into 3” */
  what: string
}

/**
 * Prepares the disks of a running vm for a capture; the guest runs on. Under the vm's lock.
 *
 * A small delta, or one on a file system that shares blocks, is copied for each child. A large one is lent instead,
 * where that is wanted: the children stand on it and collapse it later, and the vm writes to a level above until they
 * have.
 *
 * @throws RametError `NO_SPACE`, `VMM_FAILED`; the vm's disks are as before then
 */
export async function prepareLiveDisks(
  parts: EngineParts,
  vm: VmRecord,
  qemu: QemuProcess,
  wanted: DisksWanted,
): Promise<LiveDisks> {
  const { context, deltas } = parts
  const dir = context.paths.vm(vm.id)
  const held: Disposable[] = []
  const release = async (): Promise<void> => {
    for (const hold of held) hold[Symbol.dispose]()
    await mergeNow(parts, vm, qemu)
  }
  try {
    const levels = await settleLevels(parts, vm, qemu, wanted)
    const reflink = vm.disks.length > 0 && (await canReflink(context.paths.vmsDir))
    const ways = await waysOf(parts, vm, levels, wanted.mayLend && !reflink)
    const neededBytes = reflink ? 0 : wanted.copies * ways.reduce((sum, { bytes }) => sum + bytes, 0)
    await requireSpace(context.paths.dataDir, neededBytes, wanted.what)
    await prepareDiskPoint(qemu, levels, userOf(context.host, vm.seat))
    const seeds = async (): Promise<ChildDisk[]> => {
      const result: ChildDisk[] = []
      for (const [index, level] of levels.entries()) {
        if (ways[index]?.isLent) await deltas.lend(vm.id, index)
        const { lent, frozen = [] } = context.vms.find(vm.id).disks[index] ?? {}
        const under = lent === undefined ? frozen : [lent, ...frozen]
        const [nearest] = under
        held.push(...under.map((id) => deltas.hold(id)))
        const over = nearest === undefined ? {} : { over: context.paths.delta(nearest) }
        const seed: DiskSeed =
          ways[index]?.isLent && nearest !== undefined
            ? { kind: 'empty', over: context.paths.delta(nearest) }
            : { kind: 'copy', from: join(dir, diskFile(index, level)), ...over, reflink }
        result.push({ seed, frozen: under })
      }
      return result
    }
    return { levels, seeds, release }
  } catch (error) {
    await release()
    throw error
  }
}

/** How each disk comes to the children, and what a copy of it takes. */
async function waysOf(
  { context }: EngineParts,
  vm: VmRecord,
  levels: readonly number[],
  wantsLoan: boolean,
): Promise<{ isLent: boolean; bytes: number }[]> {
  const { disks } = context.vms.find(vm.id)
  return Promise.all(
    levels.map(async (level, index) => {
      const bytes = await privateDiskBytes(join(context.paths.vm(vm.id), diskFile(index, level)))
      // Deeper than this no chain shall be, also not for a while.
      const mayLend = level === 0 && disks[index]?.frozen === undefined
      return { isLent: mayLend && wantsLoan && bytes > limits.diskCopyBytes, bytes }
    }),
  )
}

/** What cannot be merged now is tried again in the background: the vm runs on over the longer chain. Never throws. */
async function mergeNow({ context, settling }: EngineParts, vm: VmRecord, qemu: QemuProcess): Promise<void> {
  const now = context.vms.get(vm.id)
  if (now === undefined) return
  await mergeDisks(qemu, floorsOf(now)).catch((error: unknown) =>
    context.log.error({ vm: vm.name, error: asRametError(error).message }, 'disks could not be merged'),
  )
  settling.schedule()
}

/**
 * A commit that gave way to this capture, or met a full disk, has left a level over level 0, which stands still already
 * and so can be lent: a fork need not wait. Only over another frozen delta, or one more level, that would be too deep.
 */
async function settleLevels(
  parts: EngineParts,
  vm: VmRecord,
  qemu: QemuProcess,
  { mayLend }: DisksWanted,
): Promise<number[]> {
  const levels = await readLevels(qemu, vm.disks.length)
  const floors = floorsOf(vm)
  const left = [...levels.keys()].filter((index) => (levels[index] ?? 0) > (floors[index] ?? 0))
  if (left.some((index) => !mayLend || levels[index] !== 1 || vm.disks[index]?.frozen !== undefined)) {
    await mergeDisks(qemu, floors)
    return readLevels(qemu, vm.disks.length)
  }
  for (const index of left) await parts.deltas.lend(vm.id, index)
  return levels
}
