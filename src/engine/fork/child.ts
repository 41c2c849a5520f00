import { randomUUID } from 'node:crypto'
import { type DiskPlan, type Launched, launch } from '../../fork/launch.ts'
import { macOf } from '../../fork/seat.ts'
import { armIncoming } from '../../qemu/incoming.ts'
import { asRametError } from '../../shared/errors.ts'
import { newId } from '../../shared/ids.ts'
import { Revert } from '../../shared/revert.ts'
import type { Guest } from '../guest/guest.ts'
import type { OperationHandle } from '../operations.ts'
import type { EngineParts } from '../parts.ts'
import type { Ancestor, DiskRecord, TemplateRecord, VmRecord } from '../records.ts'
import { endAllOf, removeDirectory } from '../vm/release-vm.ts'
import { launchPlan } from '../vm/vm-plan.ts'
import { ancestorsBelow } from './ancestors.ts'
import type { ChildDisk } from './live-disks.ts'

/** A QEMU that waits for a template's state, and the vm it will be. */
export interface ArmedChild {
  /** all of its record but what the fork's caller decides */
  draft: VmRecord
  launched: Launched
  /** connected already, though there is nobody yet to talk to */
  guest: Guest
}

/** What a child takes from what it is forked from: a template, a vm that goes on running, or one that was saved. */
export interface ForkParent {
  source: Ancestor
  /** what is inherited */
  record: TemplateRecord | VmRecord
  /** template whose base is mapped, if it is a template's */
  templateId?: string | undefined
  /** base that the child maps; absent: its memory is its own, and comes to it */
  baseId?: string
  /** what the child's disks begin with, by disk; absent: empty deltas over the bases */
  disks?: readonly ChildDisk[]
}

export function templateParent(template: TemplateRecord): ForkParent {
  const { id, name, baseId } = template
  return { source: { kind: 'template', id, name }, record: template, templateId: id, baseId }
}

/** The record of the next child of a parent. */
export function draftChild(parts: EngineParts, parent: ForkParent): VmRecord {
  const { context } = parts
  const { record, source } = parent
  const id = newId('vm', context.random)
  return {
    schemaVersion: 1,
    id,
    name: id,
    state: 'starting',
    source,
    imageId: record.imageId,
    imageName: record.imageName,
    parentId: source.id,
    ancestors: ancestorsBelow(source, record),
    ...(parent.templateId === undefined ? {} : { templateId: parent.templateId }),
    generation: record.generation + 1,
    depth: record.depth + 1,
    hostname: id,
    seat: context.seats.take(),
    ...(parent.baseId === undefined ? {} : { baseId: parent.baseId }),
    generationId: randomUUID(),
    init: record.init,
    machine: record.machine,
    disks: record.disks.map((disk, index) => diskOf(disk, parent.disks?.[index])),
    nics: record.nics.map(({ network }, index) => ({ network, mac: macOf(id, index) })),
    link: 'up',
    labels: {},
    environment: record.environment,
    ports: [],
    limits: {},
    restart: { mode: 'no' },
    restartCount: 0,
    helpers: [],
    ...(record.agentProtocol === undefined ? {} : { agentProtocol: record.agentProtocol }),
    createdAtMs: context.clock.nowMs(),
  }
}

/**
 * Starts a QEMU for a child ahead of its state: directory, delta disks, process, base mapped if there is one. All that is
 * left is to load the devices and go. Whoever calls has it admitted.
 *
 * @throws RametError `NO_CAPACITY`, `VMM_FAILED`, `NO_SPACE`; nothing is left then
 */
export async function armChild(
  parts: EngineParts,
  parent: ForkParent,
  operation: Pick<OperationHandle, 'id'> & Partial<OperationHandle>,
): Promise<ArmedChild> {
  const { context } = parts
  const { name } = parent.source
  const base = await parts.bases.ofVm(parent)
  const manifest = await parts.images.manifest(parent.record.imageId)
  await parts.fingerprints.check(parent.record)
  const draft = draftChild(parts, parent)
  await using revert = new Revert((what, error) =>
    context.log.warn({ vm: draft.id, what, error: asRametError(error).message }, 'undo failed'),
  )
  revert.add('child', () => discardDraft(parts, draft))
  const plan = launchPlan(context, {
    vm: draft,
    manifest,
    operationId: operation.id,
    ...(base === undefined ? { restored: true } : { base }),
  })
  const onDiskProgress = (doneBytes: number, totalBytes: number) =>
    operation.progress?.({
      stage: 'copying',
      doneBytes,
      totalBytes,
      message: `copying what ${name} has written`,
    })
  const disks = plan.disks.map((disk, index) => withSeed(disk, parent.disks?.[index]))
  const launched = await launch(
    { ...plan, disks, onDiskProgress },
    { journal: context.journal, spawn: context.spawn },
    operation.signal,
  )
  revert.add('QEMU', () => launched.qemu.kill())
  await armIncoming(launched.qemu)
  const guest = parts.runtimes.guestOf(draft.id, launched.qemu)
  revert.add('link', () => guest.close())
  await guest.connectAhead()
  revert.keep()
  return { draft: { ...draft, process: launched.qemu.identity, helpers: launched.helpers }, launched, guest }
}

function withSeed(disk: DiskPlan, child: ChildDisk | undefined): DiskPlan {
  return child === undefined ? disk : { ...disk, seed: child.seed }
}

/** What the parent has lent is not the child's to have back. */
function diskOf({ lent: _, frozen: __, ...disk }: DiskRecord, child: ChildDisk | undefined): DiskRecord {
  return child === undefined || child.frozen.length === 0 ? disk : { ...disk, frozen: child.frozen }
}

/** Ends a child that will not be forked; the descriptors that this daemon has of it go too. */
export async function discardArmed(parts: EngineParts, child: ArmedChild): Promise<void> {
  child.guest.close()
  await child.launched.qemu.kill()
  await discardDraft(parts, child.draft)
}

/** Takes away a child that has no record yet. */
export async function discardDraft(parts: EngineParts, draft: VmRecord): Promise<void> {
  await endAllOf(parts.context, draft.id)
  await removeDirectory(parts.context, draft.id)
  parts.context.seats.free(draft.seat)
}
