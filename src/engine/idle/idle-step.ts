import type { VmRecord } from '../records.ts'

/** What a vm does by itself when it is idle. */
export interface IdleStep {
  /** for how long it has to be idle from now on */
  afterMs: number
}

/** @returns undefined when it does nothing by itself in the state that it is in */
export function idleStepOf(vm: Pick<VmRecord, 'state' | 'idle'>): IdleStep | undefined {
  if (vm.idle === undefined || vm.state !== 'running') return undefined
  return { afterMs: vm.idle.pauseAfterSeconds * 1000 }
}

/** Whether the next call resumes it. */
export function resumesOnCall(vm: Pick<VmRecord, 'idle' | 'idlePaused'>): boolean {
  return vm.idlePaused === true && (vm.idle?.resumeOnCall ?? true)
}

/** Why it is paused, for people. */
export function idleReason({ name, idle }: Pick<VmRecord, 'name' | 'idle'>): string {
  const howLong = idle === undefined ? '' : ` after ${spanText(idle.pauseAfterSeconds)} without a call`
  const whatNext = (idle?.resumeOnCall ?? true) ? 'the next call resumes it' : `resume it with \`ramet resume ${name}\``
  return `paused by itself${howLong}; ${whatNext}`
}

function spanText(seconds: number): string {
  if (seconds >= 3600 && seconds % 3600 === 0) return `${seconds / 3600} h`
  if (seconds >= 60 && seconds % 60 === 0) return `${seconds / 60} min`
  return `${seconds} s`
}
