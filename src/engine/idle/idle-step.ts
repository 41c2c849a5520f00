import type { VmRecord } from '../records.ts'

/** What a vm does by itself when it is idle. */
export interface IdleStep {
  pauseTo: 'memory' | 'disk'
  /** for how long it has to be idle from now on */
  afterMs: number
}

/** @returns undefined when it does nothing by itself in the state that it is in */
export function idleStepOf({
  state,
  idle,
  idlePaused,
}: Pick<VmRecord, 'state' | 'idle' | 'idlePaused'>): IdleStep | undefined {
  const pauseMs = msOf(idle?.pauseAfterSeconds)
  const toDiskMs = msOf(idle?.toDiskAfterSeconds)
  if (state === 'running') {
    if (Math.min(pauseMs, toDiskMs) === Number.POSITIVE_INFINITY) return undefined
    return toDiskMs <= pauseMs ? { pauseTo: 'disk', afterMs: toDiskMs } : { pauseTo: 'memory', afterMs: pauseMs }
  }
  if (state !== 'paused' || !idlePaused || toDiskMs === Number.POSITIVE_INFINITY) return undefined
  // It has been idle for as long as it took to pause. Should it have been told otherwise since, it has its whole time.
  return { pauseTo: 'disk', afterMs: toDiskMs > pauseMs ? toDiskMs - pauseMs : toDiskMs }
}

const msOf = (seconds: number | undefined) => (seconds === undefined ? Number.POSITIVE_INFINITY : seconds * 1000)

/** Whether the next call resumes it. */
export function resumesOnCall(vm: Pick<VmRecord, 'idle' | 'idlePaused'>): boolean {
  return vm.idlePaused === true && (vm.idle?.resumeOnCall ?? true)
}

/** Why it is paused, for people. */
export function idleReason({ name, idle }: Pick<VmRecord, 'name' | 'idle'>, pauseTo: IdleStep['pauseTo']): string {
  const seconds = pauseTo === 'disk' ? idle?.toDiskAfterSeconds : idle?.pauseAfterSeconds
  const what = pauseTo === 'disk' ? 'paused to disk by itself' : 'paused by itself'
  const howLong = seconds === undefined ? '' : ` after ${spanText(seconds)} without a call`
  const whatNext = (idle?.resumeOnCall ?? true) ? 'the next call resumes it' : `resume it with \`ramet resume ${name}\``
  return `${what}${howLong}; ${whatNext}`
}

function spanText(seconds: number): string {
  if (seconds >= 3600 && seconds % 3600 === 0) return `${seconds / 3600} h`
  if (seconds >= 60 && seconds % 60 === 0) return `${seconds / 60} min`
  return `${seconds} s`
}
