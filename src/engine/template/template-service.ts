import { rm } from 'node:fs/promises'
import type { ForkRequest } from '../../api/fork.ts'
import type { Template, TemplateCreate, TemplateCreated, TemplateUpdate } from '../../api/template.ts'
import { isRunning } from '../../host/process-identity.ts'
import { adoptQemu } from '../../qemu/process.ts'
import { asRametError, RametError } from '../../shared/errors.ts'
import { faultPoint } from '../../shared/fault.ts'
import { newId } from '../../shared/ids.ts'
import { Revert } from '../../shared/revert.ts'
import type { Action, CallContext } from '../contract.ts'
import { ancestorsOfTemplate } from '../fork/ancestors.ts'
import { forkChild } from '../fork/fork-child.ts'
import type { ForkParts } from '../fork/fork-parts.ts'
import { templateSource } from '../fork/fork-source.ts'
import type { OperationHandle } from '../operations.ts'
import type { TemplateRecord, VmRecord } from '../records.ts'
import { illegal } from '../state.ts'
import { discardVm, takeDown } from '../vm/vm-actions.ts'
import { templateView, vmView } from '../vm/vm-view.ts'
import { transition } from '../vm-states.ts'
import { prepareParent } from './template-build.ts'
import { captureTemplate } from './template-capture.ts'
import { sealDisks } from './template-disks.ts'

/** Makes, keeps and removes templates. */
export class TemplateService {
  readonly #parts: ForkParts

  constructor(parts: ForkParts) {
    this.#parts = parts
  }

  view(template: TemplateRecord): Template {
    const { context, armed, bases } = this.#parts
    return templateView(template, {
      resident: bases.isResident(template),
      armedCount: armed.count(template.id),
      childCount: context.vms.list().filter((vm) => vm.templateId === template.id).length,
    })
  }

  /** @throws RametError as `Engine.createTemplate` */
  async create(request: TemplateCreate, call?: CallContext): Promise<Action<TemplateCreated>> {
    const { context, calls } = this.#parts
    context.templates.checkFree(request.name)
    using parentCall = request.from === 'vm' ? await calls.begin(context.vms.find(request.vm)) : undefined
    if (parentCall !== undefined) {
      const { vm } = parentCall
      if (vm.state !== 'running') throw illegal(vm.name, vm.state, 'make a template of')
    } else if (request.from === 'image') this.#parts.images.find(request.image)
    const id = newId('tpl', context.random)
    const target = { kind: 'template' as const, id, name: request.name }
    return context.operations.begin('template.create', target, call, async (handle) => {
      const vm =
        request.from === 'vm' ? context.vms.find(request.vm) : await prepareParent(this.#parts, request, handle)
      const keep = request.from === 'vm' && request.keep
      const source =
        request.from === 'vm'
          ? { kind: 'vm' as const, id: vm.id, name: vm.name }
          : { kind: 'image' as const, id: vm.imageId, name: vm.imageName }
      return this.#parts.runtimes.exclusively(vm.id, () => {
        // As it is when its turn has come: it may have been renamed, or consumed by another template.
        const parent = context.vms.find(vm.id)
        return this.#make(plannedTemplate(this.#parts, { id, request, vm: parent, source, keep }), parent, handle)
      })
    })
  }

  async #make(planned: TemplateRecord, vm: VmRecord, handle: OperationHandle): Promise<TemplateCreated> {
    const { context } = this.#parts
    const startMs = performance.now()
    using _ = this.#parts.uses.hold(planned.id)
    const template = await context.templates.create(planned)
    context.events.emit({ type: 'template.created', resource: resourceOf(template) })
    try {
      await this.#parts.fingerprints.check(vm)
      const captured = await captureTemplate(this.#parts, template, vm, handle)
      const ready = await this.finish(captured, handle)
      const timings = { ...ready.timings, totalMs: performance.now() - startMs }
      const settled = await context.templates.update(template.id, { timings })
      const kept = planned.making?.keep === true ? await this.#keep(settled, vm, handle) : undefined
      this.#parts.armed.refill(settled)
      return { template: this.view(settled), ...(kept === undefined ? {} : { kept: vmView(kept) }) }
    } catch (error) {
      await this.#abandon(template, vm, asRametError(error))
      throw error
    }
  }

  /**
   * The state is stored; now the vm is consumed: its QEMU ends, its disks become bases, its record goes.
   * Also what a restarted daemon does with a template that was captured but not finished.
   */
  async finish(
    template: TemplateRecord,
    handle: Pick<OperationHandle, 'progress' | 'signal'>,
  ): Promise<TemplateRecord> {
    const { context, runtimes } = this.#parts
    const vm = context.vms.find(template.making?.vmId ?? '')
    const runtime = runtimes.get(vm.id)
    if (runtime !== undefined) await takeDown(this.#parts, vm.id, runtime, 'quit')
    faultPoint('template.ended')
    await this.#parts.settling.collapseStopped(vm, handle.signal)
    // Until the template is on record the disks can be the vm's again.
    await using revert = new Revert((what, error) => context.log.error({ vm: vm.name, what, error }, 'undo failed'))
    const disks = await sealDisks(context, template, vm, handle, revert)
    handle.progress({ stage: 'disks', message: 'taking the fingerprints of its disks' })
    await this.#parts.fingerprints.recordTemplate(template.id, disks, { signal: handle.signal })
    faultPoint('template.sealed')
    const ready = await context.templates.update(template.id, { state: 'ready', disks })
    revert.keep()
    faultPoint('template.ready')
    return this.#consume(ready)
  }

  /** The template stands by itself: what is left of its vm goes. Until that is so, `making` names the vm. */
  async #consume(ready: TemplateRecord): Promise<TemplateRecord> {
    const { context } = this.#parts
    context.journal.release(
      context.journal
        .openOf(ready.id)
        .filter(({ kind }) => kind === 'directory')
        .map(({ id }) => id),
    )
    const vm = context.vms.get(ready.making?.vmId ?? '')
    if (vm !== undefined) {
      await transition(context, vm.id, 'remove')
      await discardVm(this.#parts, vm.id)
    }
    const settled = await context.templates.update(ready.id, { making: undefined })
    this.#announce(settled)
    return settled
  }

  /** What a restarted daemon does with a template whose making was cut short: finishes it if it can, else undoes it. */
  async recover(template: TemplateRecord, handle: OperationHandle): Promise<void> {
    const { making } = template
    if (template.state === 'ready') return void (await this.#consume(template))
    const vm = this.#parts.context.vms.get(making?.vmId ?? '')
    if (making?.captured !== true || vm === undefined) return this.discard(template)
    if (vm.process !== undefined && isRunning(vm.process)) {
      this.#parts.runtimes.add(vm, await adoptQemu(vm.process, this.#parts.context.paths.vm(vm.id)))
    }
    const ready = await this.finish(template, handle)
    if (making.keep) await this.#keep(ready, vm, handle)
  }

  /** The consumed vm goes on as the first child of the template, under its old name. */
  async #keep(template: TemplateRecord, vm: VmRecord, handle: OperationHandle): Promise<VmRecord> {
    const request: ForkRequest = {
      count: 1,
      labels: vm.labels,
      environment: vm.environment,
      ports: vm.ports,
      limits: vm.limits,
      files: [],
      link: vm.link,
      atomic: false,
      wait: 'ready',
      pauseParent: false,
      freeze: true,
      agent: true,
      ...(vm.ttlMs === undefined ? {} : { ttlSeconds: vm.ttlMs / 1000 }),
      ...(vm.idle === undefined ? {} : { idle: vm.idle }),
    }
    handle.progress({ stage: 'restarting', message: `${vm.name} goes on as the first child` })
    const source = templateSource(this.#parts, template)
    const plan = {
      source,
      name: vm.name,
      forkIndex: 0,
      request,
      succeeds: true as const,
      requestedAtMs: performance.now(),
    }
    const forked = await forkChild(this.#parts, plan, handle)
    return forked.ready
  }

  /** Nothing came of it. If the vm was consumed already, the template stays, `failed`, and says why. */
  async #abandon(template: TemplateRecord, vm: VmRecord, error: RametError): Promise<void> {
    const { context } = this.#parts
    const current = context.templates.get(template.id)
    if (current === undefined || current.state === 'ready') return
    await this.discard(current)
    const left = context.vms.get(vm.id)
    if (left?.state === 'capturing') {
      await transition(context, vm.id, 'stopped', {
        stateReason: `making template ${template.name} of it failed: ${error.message}`,
        process: undefined,
        helpers: [],
        baseId: undefined,
      })
    }
  }

  /** @throws RametError `IN_USE` with the children in `details.children` */
  async remove(template: TemplateRecord, call?: CallContext): Promise<Action<void>> {
    const { context } = this.#parts
    this.#checkUnused(template)
    const target = { kind: 'template' as const, id: template.id, name: template.name }
    return context.operations.begin('template.remove', target, call, async () => {
      const removing = await this.#beginRemoval(template.id)
      await this.discard(removing)
    })
  }

  /** From the state `removing` on no fork begins; one that began before has a hold, or a child's record, by then. */
  async #beginRemoval(id: string): Promise<TemplateRecord> {
    const { templates } = this.#parts.context
    const { state } = templates.find(id)
    this.#checkUnused(templates.find(id))
    const removing = await templates.update(id, { state: 'removing' })
    try {
      this.#checkUnused(removing)
      return removing
    } catch (error) {
      await templates.update(id, { state })
      throw error
    }
  }

  /** Takes away everything of a template, its record last. Can be repeated after a crash. */
  async discard(template: TemplateRecord): Promise<void> {
    const { context, bases, armed, streams, fingerprints } = this.#parts
    await armed.empty(template.id)
    await bases.drop(template)
    streams.forget(template.id)
    await rm(context.paths.template(template.id), { recursive: true, force: true })
    context.journal.release(context.journal.openOf(template.id).map((entry) => entry.id))
    await fingerprints.forget(template.id)
    await context.templates.remove(template.id)
    context.events.emit({ type: 'template.removed', resource: resourceOf(template) })
  }

  /** @throws RametError `TEMPLATE_NOT_FOUND`, `NAME_TAKEN` */
  async update(template: TemplateRecord, changes: TemplateUpdate): Promise<TemplateRecord> {
    const updated = await this.#parts.context.templates.update(template.id, changes)
    if (changes.armed !== undefined && changes.armed < this.#parts.armed.count(template.id)) {
      await this.#parts.armed.empty(template.id)
    }
    this.#parts.armed.refill(updated)
    this.#parts.context.events.emit({ type: 'template.updated', resource: resourceOf(updated) })
    return updated
  }

  #checkUnused(template: TemplateRecord): void {
    const { context, uses } = this.#parts
    if (uses.isHeld(template.id)) {
      throw new RametError('IN_USE', {
        message: `template ${template.name} is being made, forked or read`,
        remediation: 'Wait until that is over, or cancel its operation.',
      })
    }
    const standsOn = (disks: TemplateRecord['disks']) => disks.some((disk) => disk.base?.ownerId === template.id)
    const children = [
      ...context.vms.list().filter((vm) => vm.templateId === template.id || standsOn(vm.disks)),
      ...context.templates.list().filter((other) => other.id !== template.id && standsOn(other.disks)),
    ].map((thing) => thing.name)
    const snapshots = context.snapshots
      .list()
      .filter(({ checkpoint, vm }) => checkpoint?.baseOf === template.id || standsOn(vm.disks))
      .map(({ name }) => name)
    if (children.length === 0 && snapshots.length > 0) throw neededBySnapshots(template, snapshots)
    if (children.length === 0) return
    throw new RametError('IN_USE', {
      message: `template ${template.name} has ${children.length} children: ${children.slice(0, 10).join(', ')}`,
      details: { children, snapshots },
      remediation: `Remove them first: \`ramet rm --force ${children.slice(0, 3).join(' ')}\`.`,
    })
  }

  #announce(template: TemplateRecord): void {
    this.#parts.context.events.emit({
      type: 'template.state',
      resource: resourceOf(template),
      data: { state: template.state },
    })
  }
}

function neededBySnapshots({ name }: TemplateRecord, snapshots: readonly string[]): RametError {
  return new RametError('IN_USE', {
    message: `template ${name} is needed by snapshots: ${snapshots.slice(0, 10).join(', ')}`,
    details: { children: [], snapshots },
    remediation: `Remove them first: \`ramet snapshot rm ${snapshots.slice(0, 3).join(' ')}\`.`,
  })
}

function resourceOf(template: TemplateRecord) {
  return { kind: 'template' as const, id: template.id, name: template.name }
}

interface PlannedTemplate {
  id: string
  request: TemplateCreate
  vm: VmRecord
  source: TemplateRecord['source']
  keep: boolean
}

function plannedTemplate(parts: ForkParts, planned: PlannedTemplate): TemplateRecord {
  const { context } = parts
  const { request, vm } = planned
  return {
    schemaVersion: 1,
    id: planned.id,
    name: request.name,
    state: 'creating',
    source: planned.source,
    imageId: vm.imageId,
    imageName: vm.imageName,
    ...(vm.templateId === undefined ? {} : { parentId: vm.templateId, ancestors: ancestorsOfTemplate(vm) }),
    generation: vm.generation,
    depth: vm.depth,
    init: vm.init,
    machine: vm.machine,
    disks: [],
    nics: vm.nics.map(({ network }) => ({ network })),
    labels: request.labels,
    environment: vm.environment,
    armed: request.armed,
    baseId: '',
    baseBytes: 0,
    storedBytes: 0,
    hasForkHooks: false,
    qemuVersion: context.host.qemuVersion,
    streamDigest: '',
    making: { vmId: vm.id, captured: false, keep: planned.keep },
    createdAtMs: context.clock.nowMs(),
  }
}
