import type { Page } from '../../api/primitives.ts'
import type { Vm } from '../../api/vm.ts'
import type { VmClone, VmCreate, VmPause, VmStop, VmUpdate } from '../../api/vm-create.ts'
import { requireSpace } from '../../disk/space.ts'
import { setLinks } from '../../fork/capture.ts'
import { asRametError, RametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import type { Action, CallContext, ConsoleOptions, VmQuery } from '../contract.ts'
import { linksUp, requireAgent } from '../guest/agentless.ts'
import { bootNeed } from '../host/capacity.ts'
import type { OperationHandle } from '../operations.ts'
import { matchesLabels, paginate } from '../page.ts'
import type { EngineParts } from '../parts.ts'
import type { VmRecord } from '../records.ts'
import { settleEnd } from '../recovery/ends.ts'
import { Restarts } from '../recovery/restarts.ts'
import { settleStall } from '../recovery/stalls.ts'
import { resumeSuspended } from '../restore/resume-suspended.ts'
import { suspendVm } from '../restore/suspend.ts'
import { illegal, liveStates, next, type VmAction } from '../state.ts'
import { awakened } from '../vm-states.ts'
import { cloneRecord, makeClone } from './clone.ts'
import { tailOf } from './console.ts'
import { checkHostHolds, checkLimits, confine, startNeed } from './limits-of-vm.ts'
import { ttlChanged } from './ttl-changes.ts'
import { cutShort, killVm, pauseVm, removeVm, resumeVm, stopVm } from './vm-actions.ts'
import { bootVm } from './vm-boot.ts'
import { planVm } from './vm-plan.ts'
import { vmView } from './vm-view.ts'

/** What can be done with single vms. Each action waits for its turn on the vm and is legal or not by its state then. */
export class VmService {
  readonly restarts: Restarts
  readonly #parts: EngineParts

  constructor(parts: EngineParts, restarts: Restarts = new Restarts(parts)) {
    this.#parts = parts
    this.restarts = restarts
    parts.runtimes.onEnd = (vmId, runtime, end) =>
      void settleEnd(parts, vmId, runtime, end, (vm) => this.restarts.later(vm))
    parts.runtimes.onStall = (vmId, runtime) => void settleStall(parts, vmId, runtime)
  }

  list(query: VmQuery): Page<Vm> {
    const { vms } = this.#parts.context
    const parent = query.parent === undefined ? undefined : this.#idOf(query.parent)
    const rows = vms
      .list()
      .filter((vm) => query.state === undefined || query.state.includes(vm.state))
      .filter((vm) => matchesLabels(vm.labels, query.label ?? []))
      .filter((vm) => parent === undefined || vm.parentId === parent)
      .sort((a, b) => a.createdAtMs - b.createdAtMs || (a.id < b.id ? -1 : 1))
    const page = paginate(rows, query)
    return { ...page, items: page.items.map(vmView) }
  }

  async create(request: VmCreate, call?: CallContext): Promise<Action<Vm>> {
    const { admission, context, images } = this.#parts
    if (request.name !== undefined) context.vms.checkFree(request.name)
    const image = images.find(request.image)
    const manifest = await images.manifest(image.id)
    await requireSpace(context.paths.dataDir, limits.diskActionBytes, `creating ${request.name ?? 'a vm'}`)
    const vm = planVm(context, request, image, manifest)
    try {
      checkLimits(request.limits, vm.machine.memoryBytes)
      checkHostHolds(vm.machine.memoryBytes, context.readMemory)
      if (request.start) admission.check(startNeed(`starting ${vm.name}`, bootNeed(vm.machine.memoryBytes)))
      await context.vms.create(vm)
    } catch (error) {
      context.seats.free(vm.seat)
      throw error
    }
    context.events.emit({ type: 'vm.created', resource: { kind: 'vm', id: vm.id, name: vm.name } })
    const target = { kind: 'vm' as const, id: vm.id, name: vm.name }
    return context.operations.begin('vm.create', target, call, (handle) => this.#firstStart(vm, request.start, handle))
  }

  /** A vm that does not come up the first time stays, `failed`, to be looked at; one that is cancelled goes. */
  async #firstStart(vm: VmRecord, start: boolean, handle: OperationHandle): Promise<Vm> {
    if (!start) return vmView(vm)
    return this.#parts.runtimes.exclusively(vm.id, async () => {
      try {
        return vmView(await bootVm(this.#parts, vm.id, handle))
      } catch (error) {
        if (asRametError(error).code === 'CANCELLED') await removeVm(this.#parts, vm.id, true)
        throw error
      }
    })
  }

  async update(ref: string, changes: VmUpdate): Promise<Vm> {
    const { context, runtimes } = this.#parts
    const vm = context.vms.find(ref)
    const { ttlSeconds, limits, idle, ...plain } = changes
    if (limits !== undefined) checkLimits(limits, vm.machine.memoryBytes)
    if (changes.link === 'up' && liveStates.has(vm.state)) requireAgent(vm, 'bring up the links of')
    const nowMs = context.clock.nowMs()
    const running = runtimes.get(vm.id)
    const ttlMs = ttlSeconds === null || ttlSeconds === undefined ? undefined : ttlSeconds * 1000
    const updated = await context.vms.update(vm.id, (record) => ({
      ...plain,
      ...(limits === undefined ? {} : { limits }),
      ...(idle === undefined ? {} : { idle: idle ?? undefined }),
      ...(ttlSeconds === undefined ? {} : ttlChanged(record, ttlMs, nowMs)),
    }))
    if (running !== undefined && limits !== undefined) await confine(this.#parts, updated, running.qemu.identity.pid)
    if (changes.link !== undefined && changes.link !== vm.link) await this.#followLink(vm.id)
    this.#parts.ttl.reschedule()
    if (idle !== undefined) runtimes.uses.touch(vm.id)
    context.events.emit({ type: 'vm.updated', resource: { kind: 'vm', id: vm.id, name: updated.name } })
    return vmView(updated)
  }

  /** In turn: a link that comes up while the vm is captured would be up in every child, before it has an identity. */
  #followLink(id: string): Promise<void> {
    const { context, runtimes } = this.#parts
    return runtimes.exclusively(id, async () => {
      const vm = context.vms.get(id)
      const runtime = runtimes.get(id)
      if (vm !== undefined && runtime !== undefined) await setLinks(runtime.qemu, vm.nics, linksUp(vm))
    })
  }

  start(ref: string, call?: CallContext): Promise<Action<Vm>> {
    return this.#act(ref, 'vm.start', 'start', call, async (vm, handle) => {
      await this.#parts.context.vms.update(vm.id, { restartCount: 0 })
      return bootVm(this.#parts, vm.id, handle)
    })
  }

  async stop(ref: string, options: VmStop, call?: CallContext): Promise<Action<Vm>> {
    const { context, calls } = this.#parts
    const before = context.vms.find(ref)
    // To shut down it has to run: one that paused to disk by itself comes back for that, as for any other call.
    using _ = before.state === 'suspended' && before.idlePaused ? await calls.begin(before) : undefined
    return await this.#act(ref, 'vm.stop', 'stop', call, (vm, handle) => stopVm(this.#parts, vm.id, options, handle))
  }

  /** One that had paused by itself stays paused then, whoever calls. */
  async pause(ref: string, { toDisk }: VmPause, call?: CallContext): Promise<Action<Vm>> {
    const { vms } = this.#parts.context
    const givingWay = this.#pauseGivingWay(ref)
    if (givingWay !== undefined) await givingWay
    const isSo = ({ idlePaused, state }: VmRecord) =>
      idlePaused === true && (state === 'suspended' || (state === 'paused' && !toDisk))
    const before = vms.find(ref)
    const action = !toDisk ? 'pause' : before.state === 'paused' ? 'capture-paused' : 'capture'
    return this.#act(ref, 'vm.pause', isSo(before) ? undefined : action, call, async ({ id }, handle) => {
      const vm = vms.find(id)
      if (vm.idlePaused) await vms.update(id, awakened)
      if (isSo(vm)) return vms.find(id)
      return toDisk ? suspendVm(this.#parts, id, handle) : pauseVm(this.#parts, id)
    })
  }

  resume(ref: string, call?: CallContext): Promise<Action<Vm>> {
    const { vms } = this.#parts.context
    const isOnDisk = () => vms.find(ref).state === 'suspended'
    return this.#act(ref, 'vm.resume', isOnDisk() ? 'restore' : 'resume', call, (vm, handle) =>
      isOnDisk() ? resumeSuspended(this.#parts, vm.id, handle) : resumeVm(this.#parts, vm.id),
    )
  }

  kill(ref: string, call?: CallContext): Promise<Action<Vm>> {
    cutShort(this.#parts, this.#parts.context.vms.find(ref), endable)
    return this.#act(ref, 'vm.kill', 'kill', call, (vm) => killVm(this.#parts, vm.id))
  }

  async remove(ref: string, force: boolean, call?: CallContext): Promise<Action<void>> {
    const { context } = this.#parts
    const vm = context.vms.find(ref)
    if (!force && next(vm.state, 'remove') === undefined) throw illegal(vm.name, vm.state, 'remove')
    const target = { kind: 'vm' as const, id: vm.id, name: vm.name }
    if (force) cutShort(this.#parts, vm, ['vm.create', 'vm.clone', ...endable])
    return context.operations.begin('vm.remove', target, call, () =>
      this.#parts.runtimes.exclusively(vm.id, async () => {
        // Somebody else may have removed it while this waited for its turn.
        if (context.vms.get(vm.id) !== undefined) await removeVm(this.#parts, vm.id, force)
      }),
    )
  }

  /** Removes a vm whose time to live is over. */
  expire(vmId: string): void {
    const { context } = this.#parts
    const vm = context.vms.get(vmId)
    if (vm === undefined) return
    context.log.info({ vm: vm.name }, 'time to live is over')
    this.remove(vmId, true).then(
      (action) => action.done.catch(() => {}),
      (error: unknown) => context.log.warn({ vm: vm.name, error: asRametError(error).message }, 'not removed'),
    )
  }

  async clone(ref: string, request: VmClone, call?: CallContext): Promise<Action<Vm>> {
    const { context } = this.#parts
    const source = context.vms.find(ref)
    checkAtRest(source)
    if (request.name !== undefined) context.vms.checkFree(request.name)
    const vm = cloneRecord(context, source, request)
    const target = { kind: 'vm' as const, id: vm.id, name: vm.name }
    return context.operations.begin('vm.clone', target, call, async (handle) => {
      await this.#parts.runtimes.exclusively(source.id, async () => {
        // It may have been started, or removed, since the call came.
        await makeClone(this.#parts, { source: source.id, vm, check: checkAtRest }, handle)
      })
      return this.#firstStart(vm, request.start, handle)
    })
  }

  /** @throws RametError `VM_NOT_FOUND` */
  async readConsole(ref: string, options: ConsoleOptions): Promise<AsyncIterable<Uint8Array>> {
    const vm = this.#parts.context.vms.find(ref)
    return this.#console(vm.id, options)
  }

  async *#console(vmId: string, options: ConsoleOptions): AsyncGenerator<Uint8Array, void, void> {
    const { context, runtimes } = this.#parts
    const log = runtimes.consoleOf(vmId)
    const look = async (position: number) => {
      const runtime = runtimes.get(vmId)
      if (runtime !== undefined) await runtime.console.drain(runtime.qemu)
      return log.readFrom(position)
    }
    let { bytes, end } = await look(0)
    yield options.tailLines === undefined ? bytes : tailOf(bytes, options.tailLines)
    while (options.follow && !options.signal.aborted && context.vms.get(vmId) !== undefined) {
      // QEMU tells nobody when its console ring has something new, so it is looked at now and then.
      await context.clock.sleep(consolePollMs, options.signal).catch(() => {})
      ;({ bytes, end } = await look(end))
      if (bytes.length > 0) yield bytes
    }
  }

  async #act(
    ref: string,
    kind: 'vm.start' | 'vm.stop' | 'vm.pause' | 'vm.resume' | 'vm.kill',
    action: VmAction | undefined,
    call: CallContext | undefined,
    work: (vm: VmRecord, handle: OperationHandle) => Promise<VmRecord>,
  ): Promise<Action<Vm>> {
    const { context, runtimes } = this.#parts
    const givingWay = this.#pauseGivingWay(ref)
    if (givingWay !== undefined) await givingWay
    const vm = context.vms.find(ref)
    // Refused at once where nothing is under way that could make it legal by the time its turn comes.
    if (action !== undefined && next(vm.state, action) === undefined)
      throw illegal(vm.name, vm.state, kind.slice('vm.'.length))
    const target = { kind: 'vm' as const, id: vm.id, name: vm.name }
    return context.operations.begin(kind, target, call, (handle) =>
      runtimes.exclusively(vm.id, async () => vmView(await work(vm, handle))),
    )
  }

  /**
   * Of a vm that is about to pause by itself: whoever wants something else of it comes first.
   *
   * @returns undefined for any other, which must not lose its turn by waiting for nothing
   */
  #pauseGivingWay(ref: string): Promise<void> | undefined {
    const { id } = this.#parts.context.vms.find(ref)
    return this.#parts.calls.isPausing(id) ? this.#parts.calls.interruptPause(id) : undefined
  }

  #idOf(ref: string): string {
    const { vms, templates, snapshots } = this.#parts.context
    const template = templates.list().find((candidate) => candidate.id === ref || candidate.name === ref)
    if (template !== undefined) return template.id
    const snapshot = snapshots.list().find((candidate) => candidate.id === ref)
    if (snapshot !== undefined) return snapshot.id
    const vm = vms.list().find((candidate) => candidate.id === ref || candidate.name === ref)
    if (vm === undefined) throw new RametError('NOT_FOUND', { message: `there is no vm or template “${ref}”` })
    return vm.id
  }
}

/** Whose disks nobody writes to. @throws RametError `ILLEGAL_STATE` */
function checkAtRest(vm: VmRecord): void {
  if (!['created', 'stopped', 'failed'].includes(vm.state)) throw illegal(vm.name, vm.state, 'clone')
}

/** What a vm that shall end at once does not first do to its end: each may wait for its guest, or for memory to come. */
const endable = ['vm.start', 'vm.stop', 'vm.pause', 'vm.resume', 'snapshot.restore'] as const

const consolePollMs = 500
