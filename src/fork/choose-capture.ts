import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'

/** copy: the delta is copied while the guest stands · background: it is sent while the guest runs on. */
export type CaptureWay = 'copy' | 'background'

/** What is known before the pause, and what the caller wants. */
export interface CaptureFacts {
  /** that the vm has over its base */
  deltaBytes: number
  /** all of its RAM */
  guestBytes: number
  wish: 'auto' | CaptureWay
  /** goal of the caller for the whole pause */
  maxPauseMs?: number
  /** why the background cannot be had; undefined when it can, or was not looked at yet */
  obstacle?: string
}

export interface CaptureChoice {
  way: CaptureWay
  /** one sentence */
  why: string
  /** predicted, without the disks' part */
  copyPauseMs: number
  /** predicted, without the disks' part */
  backgroundPauseMs: number
}

const GiB = 1024 ** 3

/** How long the guest would stand for its memory and devices, by the rates that were measured (docs/decisions/0041). */
export function predictPauses(deltaBytes: number, guestBytes: number): Omit<CaptureChoice, 'way' | 'why'> {
  return {
    copyPauseMs: limits.copyPauseMs + (deltaBytes / limits.copyBytesPerSecond) * 1000,
    backgroundPauseMs: limits.backgroundPauseMs + (guestBytes / GiB) * limits.backgroundPauseMsPerGiB,
  }
}

/**
 * Chooses how a running vm is captured. Copying is the cheaper way by far for vm and host, so it is taken unless its
 * pause is too long and that of the other way is shorter.
 *
 * @throws RametError `PAUSE_TOO_LONG` when the caller set a goal that is not within reach
 */
export function chooseCapture(facts: CaptureFacts): CaptureChoice {
  const { wish, maxPauseMs, obstacle } = facts
  const pauses = predictPauses(facts.deltaBytes, facts.guestBytes)
  const { way, why } = wayOf(facts, pauses)
  const pauseMs = way === 'copy' ? pauses.copyPauseMs : pauses.backgroundPauseMs
  if (maxPauseMs === undefined || pauseMs <= maxPauseMs) return { way, why, ...pauses }
  const other = obstacle === undefined ? `${round(pauses.backgroundPauseMs)} ms in the background` : obstacle
  const asked = wish === 'auto' ? '' : `, and ${wish} was asked for`
  throw new RametError('PAUSE_TOO_LONG', {
    message: `a pause of at most ${round(maxPauseMs)} ms is not within reach: ${round(pauses.copyPauseMs)} ms are expected by copying, ${other}${asked}`,
    details: { maxPauseMs, ...pauses, ...(obstacle === undefined ? {} : { obstacle }) },
  })
}

function wayOf(
  { wish, maxPauseMs, obstacle }: CaptureFacts,
  { copyPauseMs, backgroundPauseMs }: Omit<CaptureChoice, 'way' | 'why'>,
): Pick<CaptureChoice, 'way' | 'why'> {
  if (wish === 'copy') return { way: 'copy', why: 'as asked' }
  if (wish === 'background' && obstacle === undefined) return { way: 'background', why: 'as asked' }
  if (wish === 'background') return { way: 'copy', why: `the background cannot be had: ${obstacle}` }
  const goalMs = maxPauseMs ?? limits.comfortablePauseMs
  if (copyPauseMs <= goalMs) return { way: 'copy', why: `copying is expected to take at most ${round(goalMs)} ms` }
  if (backgroundPauseMs >= copyPauseMs) return { way: 'copy', why: 'the background would take no less' }
  if (obstacle !== undefined) return { way: 'copy', why: `the background cannot be had: ${obstacle}` }
  return { way: 'background', why: `copying is expected to take more than ${round(goalMs)} ms` }
}

const round = (ms: number) => Math.round(ms)

/** How children get the memory: the delta loaded by each over the parent's base, or once folded into a new base. */
export interface MemoryPlan {
  memory: 'delta' | 'folded'
  /** what `count` deltas take */
  deltaCostBytes: number
  /** what a new base takes: about all that is not zeros */
  foldedCostBytes: number
}

export interface MemoryFacts {
  count: number
  deltaBytes: number
  guestBytes: number
  /** data of the base that the vm runs on; undefined when it has none, so that there is nothing to be a delta of */
  baseBytes: number | undefined
}

export function planMemory({ count, deltaBytes, guestBytes, baseBytes }: MemoryFacts): MemoryPlan {
  const deltaCostBytes = count * deltaBytes
  const foldedCostBytes = Math.min(guestBytes, deltaBytes + (baseBytes ?? 0))
  const isSmall = deltaCostBytes <= Math.min(limits.forkDeltaBytes, foldedCostBytes)
  return { memory: baseBytes !== undefined && isSmall ? 'delta' : 'folded', deltaCostBytes, foldedCostBytes }
}
