import { RametError } from '../../shared/errors.ts'
import type { VmRecord } from '../records.ts'

/**
 * Refuses what needs the agent of a vm that was forked without its own: what that agent believes to be is its
 * parent, so nothing is ever asked of it.
 *
 * @throws RametError `GUEST_UNREACHABLE`
 */
export function requireAgent(vm: VmRecord, verb: string): void {
  if (vm.identity !== 'none') return
  throw new RametError('GUEST_UNREACHABLE', {
    message: `cannot ${verb} ${vm.name}: it was forked without its agent and has no identity of its own`,
    remediation: `Boot it anew with \`ramet stop --force ${vm.name}\` and \`ramet start ${vm.name}\`; as it is, it can be paused, resumed, killed, removed, read by \`ramet logs\`, and forked with --no-agent.`,
    details: { identity: 'none' },
  })
}

/** Whether the links of a vm are to be up: never those of one that believes to be another. */
export function linksUp(vm: Pick<VmRecord, 'link' | 'identity'>): boolean {
  return vm.link === 'up' && vm.identity !== 'none'
}
