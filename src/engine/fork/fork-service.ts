import { type ForkRequest, type ForkResult, frozenAtFork } from '../../api/fork.ts'
import { RametError } from '../../shared/errors.ts'
import { formatBytes } from '../../shared/limits.ts'
import type { Action, CallContext } from '../contract.ts'
import type { TemplateRecord, VmRecord } from '../records.ts'
import { checkLimits, startNeed } from '../vm/limits-of-vm.ts'
import { checkPorts, childNames, forkAll } from './fork-children.ts'
import { checkCapturable, warningsOf } from './fork-conflicts.ts'
import type { ForkParts } from './fork-parts.ts'
import { templateSource } from './fork-source.ts'
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
    const names = childNames(context, template, request)
    checkPorts(names, request.ports)
    this.#parts.admission.check(startNeed(`a child of ${template.name}`, 0))
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
      const result = await forkAll(this.#parts, { source, request, names, requestedAtMs }, handle)
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
    const names = childNames(context, vm, request)
    checkPorts(names, request.ports)
    // Before it is paused for nothing.
    this.#parts.admission.check(startNeed(`a child of ${vm.name}`, 0))
    const target = { kind: 'vm' as const, id: vm.id, name: vm.name }
    return context.operations.begin('vm.fork', target, call, (handle) =>
      // The vm is its children's disk until they have copied it: nothing else may happen to it meanwhile.
      runtimes.exclusively(vm.id, async () => {
        await this.#parts.fingerprints.check(vm)
        const captured = await captureSource(this.#parts, context.vms.find(vm.id), request, handle)
        let outcome: 'made' | 'failed' = 'failed'
        try {
          const result = await forkAll(this.#parts, { source: captured.source, request, names, requestedAtMs }, handle)
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
