import type { ForkRequest } from '../../api/fork.ts'
import { RametError } from '../../shared/errors.ts'
import { requireAgent } from '../guest/agentless.ts'
import type { VmRecord } from '../records.ts'
import { illegal } from '../state.ts'
import { type CapturePurpose, wordsOf } from './capture-purpose.ts'

/** How a vm is captured, as far as the vm itself has a say in it. */
export type CaptureManner = Pick<ForkRequest, 'freeze' | 'agent'>

/**
 * Refuses a capture of a vm that cannot be captured now, or not so.
 *
 * One that is being captured is let through: its turn comes. One that is paused can be captured as it stands when
 * its workload is frozen already (an earlier fork left it so), or need not be.
 *
 * @throws RametError `ILLEGAL_STATE` with the state, `GUEST_UNREACHABLE` for one without an agent of its own
 */
export function checkCapturable(vm: VmRecord, manner: CaptureManner, purpose: CapturePurpose): void {
  const { verb } = wordsOf[purpose]
  if (vm.state === 'paused') checkPaused(vm, manner, purpose)
  else if (vm.state !== 'running' && vm.state !== 'capturing') throw illegal(vm.name, vm.state, verb)
  if (!manner.agent) return
  try {
    requireAgent(vm, verb)
  } catch (cause) {
    throw unanswered(vm, purpose, 'it was forked without its agent itself', cause)
  }
}

function checkPaused(vm: VmRecord, manner: CaptureManner, purpose: CapturePurpose): void {
  const { verb, imperative, outcome } = wordsOf[purpose]
  const refuse = (remediation: string) => {
    const { message, details } = illegal(vm.name, vm.state, verb)
    return new RametError('ILLEGAL_STATE', { message, details, remediation })
  }
  if (vm.frozenWhilePaused && !manner.agent) {
    throw refuse(
      `Leave out --no-agent, or resume it first: \`ramet resume ${vm.name}\`. Its workload is frozen in it, and only the agent could thaw it in ${outcome}.`,
    )
  }
  if (vm.frozenWhilePaused || !manner.freeze || !manner.agent) return
  throw refuse(
    `Resume it first: \`ramet resume ${vm.name}\`; or ${imperative} as it stands with --no-freeze: the workload of a guest that does not execute cannot be frozen.`,
  )
}

/** What is said of a vm whose agent cannot take part in its capture. */
export function unanswered(vm: VmRecord, purpose: CapturePurpose, why: string, cause?: unknown): RametError {
  const { verb, imperative, command, withoutAgent } = wordsOf[purpose]
  return new RametError('GUEST_UNREACHABLE', {
    message: `cannot ${verb} ${vm.name}: ${why}`,
    cause,
    remediation: `Look at \`ramet logs ${vm.name}\`; or ${imperative} without its agent: \`${command(vm.name)} --no-agent\`, ${withoutAgent}.`,
  })
}

/** Sentences for whoever forked so. */
export function warningsOf(manner: CaptureManner, isFrozen: boolean): string[] {
  if (!manner.agent) {
    return [
      'The children have no identity of their own: the agent was not asked. They believe to be their parent, their links stay down, and no command can be run in them until they are stopped and started again.',
    ]
  }
  if (isFrozen) return []
  return [
    'The workload of the children executed in the name of their parent for a moment, before their identity was proved: it was not frozen.',
  ]
}
