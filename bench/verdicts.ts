import type { Churn } from './churn.ts'
import type { Crowd } from './crowd.ts'
import type { IdleMemory } from './idle-memory.ts'
import { quantile, type Summary } from './summary.ts'

/** One promised number, and what was measured. */
export interface Verdict {
  promise: string
  target: string
  measured: string
  met: boolean
}

export interface Measured {
  image: string
  stages: Record<'floor' | 'fork' | 'coldBoot', Record<string, Summary>>
  idle: readonly IdleMemory[]
  crowd?: Crowd
  churn?: Churn
}

const MiB = 1024 * 1024
/** guest memory that an idle child may have of its own */
const idleTargetBytes: Record<string, number> = { micro: 2 * MiB, debian: 8 * MiB }
const overFloorTargetMs = 8
const runningTargetMs = 25
const ratioTarget = 15

/** The promises of docs/spec.md that this measurement says something about. */
export function judge(measured: Measured): Verdict[] {
  return [...judgeTimes(measured), ...judgeMemory(measured), ...judgeCrowd(measured), ...judgeChurn(measured)]
}

/** Promised of the small image; what others take is told, and depends on what is in them. */
function judgeTimes({ stages, image }: Measured): Verdict[] {
  if (image !== 'micro') return []
  const p50 = (who: 'floor' | 'fork' | 'coldBoot', stage: string) => stages[who][stage]?.p50 ?? Number.NaN
  const running = p50('fork', 'runningMs')
  const over = running - p50('floor', 'runningMs')
  const ratio = p50('coldBoot', 'answeredMs') / p50('fork', 'answeredMs')
  return [
    verdict('fork to running, p50', running, runningTargetMs, 'ms'),
    verdict('fork to running over the floor, p50', over, overFloorTargetMs, 'ms'),
    {
      promise: 'cold boot over fork, each until identity is applied, p50',
      target: `≥ ${ratioTarget}`,
      measured: ratio.toFixed(1),
      met: ratio >= ratioTarget,
    },
  ]
}

function judgeMemory({ idle, image }: Measured): Verdict[] {
  const targetBytes = idleTargetBytes[image]
  if (idle.length === 0 || targetBytes === undefined) return []
  const privateBytes = quantile(
    idle.map(({ guestPrivateBytes }) => guestPrivateBytes),
    0.5,
  )
  return [verdict(`guest memory private to an idle child of ${image}`, privateBytes / MiB, targetBytes / MiB, 'MiB')]
}

function judgeCrowd({ crowd }: Measured): Verdict[] {
  if (crowd === undefined) return []
  return [
    {
      promise: 'children of one request that answer',
      target: `${crowd.asked}`,
      measured: `${crowd.answered}`,
      met: crowd.answered === crowd.asked,
    },
  ]
}

function judgeChurn({ churn }: Measured): Verdict[] {
  if (churn === undefined) return []
  const show = ({ processes, descriptors, files }: Churn['before']) =>
    `${processes} processes, ${descriptors} descriptors, ${files} files`
  return [
    {
      promise: `what is left after ${churn.forks} forks and removals`,
      target: show(churn.before),
      measured: show(churn.after),
      met: show(churn.before) === show(churn.after),
    },
  ]
}

function verdict(promise: string, figure: number, target: number, unit: string): Verdict {
  return { promise, target: `≤ ${target} ${unit}`, measured: `${figure.toFixed(1)} ${unit}`, met: figure <= target }
}
