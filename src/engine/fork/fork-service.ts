import { type ForkedChild, type ForkRequest, type ForkResult, frozenAtFork } from '../../api/fork.ts'
import { toProblem } from '../../api/problem.ts'
import type { Timings } from '../../api/timings.ts'
import { requireSpace } from '../../disk/space.ts'
import { asRametError, RametError } from '../../shared/errors.ts'
import { checkName, inventName } from '../../shared/ids.ts'
import { formatBytes, limits } from '../../shared/limits.ts'
import type { Action, CallContext } from '../contract.ts'
import { inParallel } from '../mutex.ts'
import type { OperationHandle } from '../operations.ts'
import type { TemplateRecord, VmRecord } from '../records.ts'
import { checkLimits } from '../vm/limits-of-vm.ts'
import { removeVm } from '../vm/vm-actions.ts'
import { vmView } from '../vm/vm-view.ts'
import { type ForkedGuest, forkChild } from './fork-child.ts'
import { checkCapturable, warningsOf } from './fork-conflicts.ts'
import type { ForkParts } from './fork-parts.ts'
import { type ForkSource, templateSource } from './fork-source.ts'
import { captureSource } from './live-source.ts'

/** Forks children of templates, and of vms that go on running. */
export class ForkService {
  readonly #parts: ForkParts

  constructor(parts: ForkParts) {
    this.#parts = parts
  }

  /** @throws RametError as `Engine.forkTemplate` */
  async fork(template: TemplateRecord, request: ForkRequest, call?: CallContext): Promise<Action<ForkResult>> {
    const requestedAtMs = call?.requestedAtMs ?? performance.now()
    const { context } = this.#parts
    refuseFrozen('template', template, request)
    refuseManner(template, request)
    checkUsable(context.host.accelerator, template)
    checkLimits(request.limits, template.machine.memoryBytes)
    const names = this.#names(template, request)
    const target = { kind: 'template' as const, id: template.id, name: template.name }
    return context.operations.begin('template.fork', target, call, async (handle) => {
      using _ = this.#parts.uses.hold(template.id)
      // It may have gone since the call came; from here on it cannot.
      checkUsable(context.host.accelerator, context.templates.find(template.id))
      // Also where armed processes have opened the bases already: whoever writes into one, writes under them.
      await this.#parts.fingerprints.check(template)
      // Loaded once, before several children want it at the same time.
      await this.#parts.bases.of(template)
      const source = templateSource(this.#parts, template)
      const result = await this.#forkAll(source, request, names, { requestedAtMs, handle })
      this.#parts.armed.refill(template)
      return result
    })
  }

  /** Forks a vm that goes on running. @throws RametError as `Engine.forkVm` */
  async forkVm(of: VmRecord, request: ForkRequest, call?: CallContext): Promise<Action<ForkResult>> {
    const requestedAtMs = call?.requestedAtMs ?? performance.now()
    const { context, runtimes, calls } = this.#parts
    using parentCall = await calls.begin(of)
    const { vm } = parentCall
    refuseFrozen('vm', vm, request)
    checkCapturable(vm, request, 'fork')
    checkLimits(request.limits, vm.machine.memoryBytes)
    const names = this.#names(vm, request)
    const target = { kind: 'vm' as const, id: vm.id, name: vm.name }
    return context.operations.begin('vm.fork', target, call, (handle) =>
      // The vm is its children's disk until they have copied it: nothing else may happen to it meanwhile.
      runtimes.exclusively(vm.id, async () => {
        await this.#parts.fingerprints.check(vm)
        const captured = await captureSource(this.#parts, context.vms.find(vm.id), request, handle)
        let outcome: 'made' | 'failed' = 'failed'
        try {
          const result = await this.#forkAll(captured.source, request, names, { requestedAtMs, handle })
          if (result.results.some(({ ok }) => ok)) outcome = 'made'
          const warnings = warningsOf(request, captured.source.isFrozen)
          return {
            ...result,
            timings: { ...captured.timings, ...result.timings },
            capture: captured.report,
            ...(warnings.length === 0 || outcome === 'failed' ? {} : { warnings }),
          }
        } finally {
          await captured.release(outcome)
        }
      }),
    )
  }

  async #forkAll(
    source: ForkSource,
    request: ForkRequest,
    names: string[],
    run: { requestedAtMs: number; handle: OperationHandle },
  ): Promise<ForkResult> {
    const { handle, requestedAtMs } = run
    let done = 0
    await requireSpace(this.#parts.context.paths.dataDir, limits.diskActionBytes, `a fork of ${names.length}`)
    const results = await inParallel(names, limits.forkParallelCount, async (name, forkIndex) => {
      const result = await this.#forkOne(source, request, { name, forkIndex, requestedAtMs }, handle)
      done += 1
      handle.progress({
        stage: 'forking',
        fraction: done / names.length,
        message: `${done} of ${names.length} children`,
      })
      return result
    })
    const timings: Timings = { totalMs: performance.now() - requestedAtMs }
    if (request.atomic && results.some((result) => !result.ok)) await this.#undo(results)
    // What was cancelled under way failed child by child; the call as a whole was cancelled.
    if (results.every((result) => !result.ok)) handle.signal.throwIfAborted()
    return { results, timings }
  }

  async #forkOne(
    source: ForkSource,
    request: ForkRequest,
    child: { name: string; forkIndex: number; requestedAtMs: number },
    handle: OperationHandle,
  ): Promise<ForkedChild> {
    try {
      handle.signal.throwIfAborted()
      // Again when it is recorded; but here it costs no process.
      this.#parts.context.vms.checkFree(child.name)
      const forked = await forkChild(this.#parts, { source, request, ...child }, handle)
      if (request.wait === 'ready') await forked.ready
      this.#measure(forked)
      return { ok: true, vm: vmView(this.#parts.context.vms.find(forked.vmId)), timings: { ...forked.timings } }
    } catch (error) {
      return { ok: false, name: child.name, error: toProblem(asRametError(error)) }
    }
  }

  #measure({ timings }: ForkedGuest): void {
    for (const [stage, ms] of Object.entries(timings)) {
      if (ms !== undefined) this.#parts.context.measure({ kind: 'fork-stage', stage: stage.replace(/Ms$/, ''), ms })
    }
  }

  /** All or none: the children that were made are removed again. */
  async #undo(results: readonly ForkedChild[]): Promise<never> {
    const made = results.flatMap((result) => (result.ok ? [result.vm.id] : []))
    await inParallel(made, limits.forkParallelCount, (id) =>
      this.#parts.runtimes.exclusively(id, async () => {
        // A child that was not waited for may have failed and gone by itself.
        if (this.#parts.context.vms.get(id) !== undefined) await removeVm(this.#parts, id, true)
      }),
    )
    const failed = results.filter((result) => !result.ok)
    const [first] = failed
    const why = first?.ok === false ? `: ${first.error.detail}` : ''
    throw new RametError('FORK_INCOMPLETE', {
      message: `${failed.length} of ${results.length} children could not be made, so none was kept${why}`,
      details: { results: failed },
    })
  }

  /**
   * A name that is taken fails its own child, unless all are wanted or none.
   *
   * @throws RametError `NAME_TAKEN`, `INVALID_NAME`
   */
  #names(parent: TemplateRecord | VmRecord, request: ForkRequest): string[] {
    const { vms, random } = this.#parts.context
    if (request.names !== undefined) {
      if (request.atomic || request.count === 1) for (const name of request.names) vms.checkFree(name)
      return request.names
    }
    if (request.namePrefix === undefined && request.count === 1) return [inventName(random)]
    const prefix = request.namePrefix ?? parent.name
    const names: string[] = []
    for (let number = 0; names.length < request.count; number += 1) {
      const name = checkName(`${prefix}-${number}`)
      if (!vms.nameTaken(name)) names.push(name)
    }
    return names
  }
}

/** What is in the device state cannot be chosen at fork: the refusal names what the template has. */
function refuseFrozen(what: 'template' | 'vm', parent: TemplateRecord | VmRecord, request: ForkRequest): void {
  const values: Record<(typeof frozenAtFork)[number], string> = {
    image: parent.imageName,
    cpus: String(parent.machine.cpuCount),
    memoryBytes: formatBytes(parent.machine.memoryBytes),
    disks: `${parent.disks.length} disks`,
    nics: parent.nics.map(({ network }) => network).join(', ') || 'none',
    init: parent.init,
  }
  const given = frozenAtFork.filter((option) => request[option] !== undefined)
  const [first] = given
  if (first === undefined) return
  throw new RametError('FROZEN_BY_TEMPLATE', {
    message: `${first} cannot be chosen at fork: ${what} ${parent.name} has ${values[first]}`,
    details: { options: given, values },
  })
}

/** A template is at rest, and its children were frozen with it: these are for a vm that runs. */
function refuseManner({ name }: TemplateRecord, request: ForkRequest): void {
  const options = [
    ...(request.pauseParent ? ['pauseParent'] : []),
    ...(request.freeze ? [] : ['freeze']),
    ...(request.agent ? [] : ['agent']),
    ...(request.capture === undefined ? [] : ['capture']),
    ...(request.maxPauseMs === undefined ? [] : ['maxPauseMs']),
  ]
  if (options.length === 0) return
  throw new RametError('INVALID_ARGUMENT', {
    message: `${options.join(', ')} cannot be chosen for a fork of template ${name}, which is at rest with its workload frozen`,
    remediation: 'Leave it out; it is for the fork of a vm that runs.',
    details: { options },
  })
}

function checkUsable(accelerator: 'kvm' | 'tcg', template: TemplateRecord): void {
  if (template.state !== 'ready') {
    throw new RametError('ILLEGAL_STATE', { message: `template ${template.name} is ${template.state}` })
  }
  if (template.machine.accelerator === accelerator) return
  throw new RametError('HOST_UNFIT', {
    message: `template ${template.name} was made under ${template.machine.accelerator}, this host runs guests under ${accelerator}`,
    remediation: 'Make the template again on this host.',
  })
}
