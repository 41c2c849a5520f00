import type { VmFailure, VmState } from '../api/vm.ts'
import type { EngineContext } from './context.ts'
import type { VmRecord } from './records.ts'
import type { Changes } from './registry.ts'
import { illegal, next, type VmAction } from './state.ts'

/** States that end a pause, and what a vm that had paused by itself says of that no more. */
const awake: ReadonlySet<VmState> = new Set(['running', 'stopped', 'failed'])
export const awakened = { idlePaused: undefined, stateReason: undefined } as const

/**
 * Applies an action to a vm's stored state, with whatever else changes at the same moment, and tells
 * everybody.
 *
 * @param verb for the message of a refusal: “pause”
 * @throws RametError `ILLEGAL_STATE`, `VM_NOT_FOUND`
 */
export async function transition(
  context: EngineContext,
  id: string,
  action: VmAction,
  changes: Changes<VmRecord> | ((record: VmRecord) => Changes<VmRecord>) = {},
  verb: string = action,
): Promise<VmRecord> {
  let previous: VmState | undefined
  const vm = await context.vms.update(id, (record) => {
    const state = next(record.state, action)
    if (state === undefined) throw illegal(record.name, record.state, verb)
    previous = record.state
    const further = typeof changes === 'function' ? changes(record) : changes
    return { ...(record.idlePaused && awake.has(state) ? awakened : {}), ...further, state }
  })
  if (previous !== vm.state) announceState(context, vm, previous)
  return vm
}

export function announceState(context: EngineContext, vm: VmRecord, previous?: VmState): void {
  context.events.emit({
    type: vm.state === 'failed' ? 'vm.failed' : 'vm.state',
    resource: { kind: 'vm', id: vm.id, name: vm.name },
    data: {
      state: vm.state,
      ...(previous === undefined ? {} : { previous }),
      ...(vm.stateReason === undefined ? {} : { reason: vm.stateReason }),
      ...(vm.failure === undefined || vm.state !== 'failed' ? {} : { failure: vm.failure }),
    },
  })
}

export interface FailureDraft {
  reason: VmFailure['reason']
  message: string
  event?: string | undefined
  consoleLines: string[]
}

export function failureOf(context: EngineContext, draft: FailureDraft): VmFailure {
  const { event, ...rest } = draft
  return { ...rest, ...(event === undefined ? {} : { event }), at: new Date(context.clock.nowMs()).toISOString() }
}
