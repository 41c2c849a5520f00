import type { VmState } from '../api/vm.ts'
import { RametError } from '../shared/errors.ts'

/**
 * Everything that can happen to a vm. What users ask for is in the imperative, what the host observed
 * in the past tense. Next to each: the states in which it is legal.
 */
export type VmAction =
  /** created, stopped, failed */
  | 'start'
  /** starting, resuming, capturing, restoring: the guest runs */
  | 'started'
  /** running */
  | 'pause'
  /** pausing, capturing, restoring */
  | 'paused'
  /** paused */
  | 'resume'
  /** capturing: memory and devices are on disk, and nothing runs any more; restoring: they have not come back */
  | 'suspended'
  /** suspended, and any state at rest: memory and devices are about to come back from disk */
  | 'restore'
  /** running: memory and devices are about to be saved */
  | 'capture'
  /** paused: the same, of a guest that stands still already */
  | 'capture-paused'
  /** running, paused */
  | 'stop'
  /** anything with a process: the guest or its QEMU ended as wanted, or by the guest's own decision */
  | 'stopped'
  /** anything with a process: QEMU is ended at once */
  | 'kill'
  /** anything with a process: it ended against its will */
  | 'failed'
  /** created, stopped, failed; `starting` for a child whose fork failed */
  | 'remove'

const transitions: Record<VmState, Partial<Record<VmAction, VmState>>> = {
  created: { start: 'starting', restore: 'restoring', remove: 'removing' },
  starting: { started: 'running', stopped: 'stopped', kill: 'stopping', failed: 'failed', remove: 'removing' },
  running: {
    pause: 'pausing',
    capture: 'capturing',
    stop: 'stopping',
    stopped: 'stopped',
    kill: 'stopping',
    failed: 'failed',
  },
  pausing: { paused: 'paused', started: 'running', stopped: 'stopped', kill: 'stopping', failed: 'failed' },
  paused: {
    resume: 'resuming',
    'capture-paused': 'capturing',
    stop: 'stopping',
    stopped: 'stopped',
    kill: 'stopping',
    failed: 'failed',
  },
  resuming: { started: 'running', paused: 'paused', stopped: 'stopped', kill: 'stopping', failed: 'failed' },
  capturing: {
    started: 'running',
    paused: 'paused',
    suspended: 'suspended',
    stopped: 'stopped',
    kill: 'stopping',
    failed: 'failed',
    remove: 'removing',
  },
  suspended: { restore: 'restoring', kill: 'stopping', remove: 'removing' },
  restoring: {
    started: 'running',
    paused: 'paused',
    suspended: 'suspended',
    stopped: 'stopped',
    kill: 'stopping',
    failed: 'failed',
    remove: 'removing',
  },
  stopping: { stopped: 'stopped', started: 'running', kill: 'stopping', failed: 'failed' },
  stopped: { start: 'starting', restore: 'restoring', remove: 'removing' },
  failed: { start: 'starting', restore: 'restoring', remove: 'removing' },
  removing: { remove: 'removing' },
}

/** The one state machine of a vm. @returns undefined when the action is not legal in that state */
export function next(state: VmState, action: VmAction): VmState | undefined {
  return transitions[state][action]
}

/** States in which a QEMU process belongs to the vm. */
export const liveStates: ReadonlySet<VmState> = new Set<VmState>([
  'starting',
  'running',
  'pausing',
  'paused',
  'resuming',
  'capturing',
  'restoring',
  'stopping',
])

/** States in which the agent of a vm can be talked to. */
export const reachableStates: ReadonlySet<VmState> = new Set<VmState>(['running', 'capturing', 'stopping'])

const remedies: Partial<Record<VmState, string>> = {
  created: 'Start it first: `ramet start NAME`.',
  stopped: 'Start it first: `ramet start NAME`.',
  failed: 'See why with `ramet logs NAME`, then `ramet start NAME` or `ramet rm NAME`.',
  paused: 'Resume it first: `ramet resume NAME`.',
  suspended: 'Resume it first, `ramet resume NAME`, or give up its memory: `ramet kill NAME`.',
  running: 'Stop it first: `ramet stop NAME`.',
}

const removal = 'Stop it first: `ramet stop NAME`, or use --force.'

/** The typed conflict for an action that is not legal now. */
export function illegal(name: string, state: VmState, action: string): RametError {
  const remedy = (action === 'remove' && liveStates.has(state) ? removal : remedies[state])?.replaceAll('NAME', name)
  return new RametError('ILLEGAL_STATE', {
    message: `cannot ${action} ${name}: it is ${state}`,
    details: { state, action },
    ...(remedy === undefined ? { remediation: 'Wait until it has reached a settled state.' } : { remediation: remedy }),
  })
}
