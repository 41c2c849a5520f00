import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { chown, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { VmClone } from '../../api/vm-create.ts'
import { cloneDisk } from '../../disk/clone.ts'
import { diskFile } from '../../fork/disk-file.ts'
import { macOf } from '../../fork/seat.ts'
import { canReflink } from '../../host/probe-storage.ts'
import { inventName, newId } from '../../shared/ids.ts'
import type { EngineContext } from '../context.ts'
import { ancestorsBelow } from '../fork/ancestors.ts'
import type { OperationHandle } from '../operations.ts'
import type { EngineParts } from '../parts.ts'
import type { VmRecord } from '../records.ts'
import { removeDirectory } from './release-vm.ts'
import { userOf } from './vm-plan.ts'

/** The record of a copy of a stopped vm: the same machine and disks, an identity of its own, no memory. */
export function cloneRecord(context: EngineContext, source: VmRecord, request: VmClone): VmRecord {
  const id = newId('vm', context.random)
  const name = request.name ?? inventName(context.random)
  const origin = { kind: 'vm' as const, id: source.id, name: source.name }
  return {
    schemaVersion: 1,
    id,
    name,
    state: 'created',
    source: origin,
    ancestors: ancestorsBelow(origin, source),
    imageId: source.imageId,
    imageName: source.imageName,
    generation: 1,
    depth: 0,
    hostname: name,
    seat: context.seats.take(),
    generationId: randomUUID(),
    init: source.init,
    machine: source.machine,
    disks: disksOf(source),
    nics: source.nics.map(({ network }, index) => ({ network, mac: macOf(id, index) })),
    link: 'up',
    labels: request.labels,
    environment: source.environment,
    ports: [],
    limits: source.limits,
    restart: { mode: 'no' },
    restartCount: 0,
    helpers: [],
    createdAtMs: context.clock.nowMs(),
  }
}

/** What the source has lent is not the copy's to have back. */
const disksOf = (source: VmRecord) => source.disks.map(({ lent: _, ...disk }) => disk)

export interface CloneOrder {
  /** id of the vm to copy */
  source: string
  /** record of the copy, with its seat */
  vm: VmRecord
  /** throws unless the source is fit to be copied now */
  check: (source: VmRecord) => void
}

/**
 * Copies the disks of a stopped vm and stores the record of the copy. Under the lock of the source.
 *
 * @throws RametError `NO_SPACE`, `CANCELLED`, `ILLEGAL_STATE`, `NAME_TAKEN`; nothing is left then
 */
export async function makeClone(
  parts: Pick<EngineParts, 'context' | 'settling'>,
  order: CloneOrder,
  handle: OperationHandle,
): Promise<void> {
  const { context } = parts
  const { vm } = order
  try {
    const source = context.vms.find(order.source)
    order.check(source)
    await copyDisks(parts, source, vm, handle)
    // As they are now: what they stood on when the copy was asked for may be gone.
    await context.vms.create({ ...vm, disks: disksOf(context.vms.find(source.id)) })
  } catch (error) {
    await removeDirectory(context, vm.id)
    context.seats.free(vm.seat)
    throw error
  }
  // From here on the record owns the directory.
  context.journal.release(context.journal.openOf(vm.id).map(({ id }) => id))
  context.events.emit({ type: 'vm.created', resource: { kind: 'vm', id: vm.id, name: vm.name } })
}

/** Disks that were never made (a vm that never ran) are made when the clone starts. */
async function copyDisks(
  { context, settling }: Pick<EngineParts, 'context' | 'settling'>,
  source: VmRecord,
  clone: VmRecord,
  handle: OperationHandle,
): Promise<void> {
  const dir = context.paths.vm(clone.id)
  const user = userOf(context.host, clone.seat)
  context.journal.intend([{ operation: handle.id, owner: clone.id, kind: 'directory', ident: { name: clone.id } }])
  await mkdir(dir, { mode: 0o700 })
  if (user !== undefined) await chown(dir, user.uid, user.gid)
  await settling.settleStopped(source, handle.signal)
  const reflink = await canReflink(context.paths.vmsDir)
  for (const index of source.disks.keys()) {
    const from = join(context.paths.vm(source.id), diskFile(index))
    if (!existsSync(from)) continue
    await cloneDisk({
      from,
      to: join(dir, diskFile(index)),
      reflink,
      owner: user,
      signal: handle.signal,
      onProgress: (doneBytes, totalBytes) =>
        handle.progress({ stage: 'copying', doneBytes, totalBytes, message: `copying disk ${index + 1}` }),
    })
  }
}
