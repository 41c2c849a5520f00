import { type OpeningSchedule, resumeSchedule } from '../../agent/opening.ts'
import { loadIncoming } from '../../qemu/incoming.ts'
import type { QemuProcess } from '../../qemu/process.ts'
import type { StartNeed } from '../host/capacity.ts'
import type { TemplateRecord, VmRecord } from '../records.ts'
import { startNeed } from '../vm/limits-of-vm.ts'
import { type ArmedChild, type ForkParent, templateParent } from './child.ts'
import type { ForkParts } from './fork-parts.ts'

/** What children are forked from: a template at rest, the captured state of a vm, or a snapshot. */
export interface ForkSource {
  readonly parent: ForkParent
  /** whether the workload stands still in what children load */
  readonly isFrozen: boolean
  /** whether the guest has hooks to run in each child */
  readonly hasForkHooks: boolean
  /** whether the state was saved with the links down, so that children come up without one */
  readonly linksDown: boolean
  /** what the start of a child needs */
  need(name: string): StartNeed
  /** when a guest that was loaded so is asked for a session */
  readonly opening: OpeningSchedule
  /** a process started ahead, if there is one */
  take(): ArmedChild | undefined
  /**
   * Gives a waiting QEMU its guest, which stands afterwards.
   *
   * @throws RametError as `loadIncoming`; QEMU is of no more use then
   */
  load(vm: VmRecord, qemu: QemuProcess, signal: AbortSignal): Promise<void>
}

/** Children that load a whole migration stream, the same for each. */
export function loadingStream(stream: () => Promise<Iterable<Buffer>>): Pick<ForkSource, 'load' | 'opening'> {
  return {
    opening: resumeSchedule,
    load: async (_, qemu, signal) => loadIncoming(qemu, await stream(), { signal }),
  }
}

export function templateSource(parts: ForkParts, template: TemplateRecord): ForkSource {
  return {
    parent: templateParent(template),
    isFrozen: true,
    hasForkHooks: template.hasForkHooks,
    linksDown: true,
    // Its memory is the template's: what it writes by itself until it is ready is less than QEMU's need is rounded up by.
    need: (name) => startNeed(`starting ${name}`, 0),
    take: () => parts.armed.take(template.id),
    ...loadingStream(async () => [await parts.streams.of(template)]),
  }
}
