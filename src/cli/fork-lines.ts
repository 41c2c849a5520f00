import type { Timings } from '../client/index.ts'
import { formatBytes } from '../shared/limits.ts'
import { formatDuration } from './format.ts'

/** What a fork of a vm says of its capture, as far as this daemon says it. */
interface ForkFacts {
  timings: Timings & { pauseMemoryMs?: number | undefined; pauseDiskMs?: number | undefined }
  capture?: { deltaBytes?: number | undefined; memory?: string | undefined; way?: string | undefined } | undefined
}

/** A line on what a fork meant for the vm that was forked; undefined for a template, which does not run. */
export function parentLine(name: string, { timings, capture }: ForkFacts): string | undefined {
  const { captureMs, pauseMs, pauseMemoryMs, pauseDiskMs, freezeMs } = timings
  if (captureMs === undefined && pauseMs === undefined) return undefined
  const given = capture === undefined ? '' : givenText(capture)
  if (pauseMs === undefined) {
    return `${name} is paused at the very moment of its children${given}; let it go on with: ramet resume ${name}`
  }
  const parts = [
    ...(pauseMemoryMs === undefined ? [] : [`memory ${numberOf(pauseMemoryMs)}`]),
    ...(pauseDiskMs === undefined ? [] : [`disks ${numberOf(pauseDiskMs)}`]),
  ]
  const ofIt = parts.length === 0 ? '' : ` (${parts.join(', ')})`
  const frozen = freezeMs === undefined ? 'workload not frozen' : `workload frozen ${formatDuration(freezeMs)}`
  return `parent paused ${formatDuration(pauseMs)}${ofIt}, ${frozen}${given}`
}

/** Milliseconds without the unit, which the number before has. */
const numberOf = (ms: number) => formatDuration(ms).replace(/ ms$/, '')

function givenText({ deltaBytes, memory, way }: NonNullable<ForkFacts['capture']>): string {
  if (deltaBytes === undefined) return ''
  const bytes = formatBytes(deltaBytes)
  const how = way === 'background' ? 'read in the background and ' : ''
  return memory === 'folded'
    ? `; ${bytes} of memory ${how}folded into a base that all children map`
    : `; ${bytes} of memory ${how}given to each child`
}
