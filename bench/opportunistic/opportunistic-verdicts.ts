import { formatBytes } from '../../src/shared/limits.ts'
import type { Verdict } from '../verdicts.ts'
import type { OpportunisticMeasured } from './opportunistic-bench.ts'

const MiB = 1024 * 1024
const hitTarget = 1.15
/** where the copy itself is so short that the check shows */
const smallSetTarget = 1.35
const allocationTargetNs = 100
/** the dearest of 0, 50 and 100 % held over the cheapest */
const flatTarget = 1.25
const startTarget = 1.2

/** The promises of docs/spec.md that this measurement says something about. */
export function judgeOpportunistic(measured: OpportunisticMeasured): Verdict[] {
  return [...judgeHits(measured), ...judgeAllocations(measured), ...judgeStarts(measured), judgeTorn(measured)]
}

function judgeHits({ hits }: OpportunisticMeasured): Verdict[] {
  return hits
    .filter(({ kind }) => kind !== 'lru')
    .map(({ kind, setBytes, blockBytes, overCopy }) => {
      const promise = `${kind}: hit over plain copy, ${formatBytes(setBytes)} by ${formatBytes(blockBytes)}`
      const isSmall = setBytes === 8 * MiB && blockBytes === 4096
      return atMost(promise, overCopy, isSmall ? smallSetTarget : hitTarget, '')
    })
}

function judgeAllocations({ allocations }: OpportunisticMeasured): Verdict[] {
  const plain = allocations.freeList.filter(({ secondChances }) => secondChances === 0)
  const times = plain.map(({ p50Ns }) => p50Ns)
  return [
    ...plain.map(({ what, p50Ns }) => atMost(`ordinary allocation, ${what}, p50`, p50Ns, allocationTargetNs, ' ns')),
    atMost('the same, dearest over cheapest', Math.max(...times) / Math.min(...times), flatTarget, ''),
  ]
}

function judgeStarts({ starts }: OpportunisticMeasured): Verdict[] {
  if (starts === undefined) return []
  const { overEmpty } = starts
  const promise = 'start of a vm of 400 MiB over an empty host, cache'
  return [
    atMost(
      `kernel: ${promise} full, room kept free ahead (the product's reserve)`,
      overEmpty['kernel-ahead'],
      startTarget,
      '',
    ),
    atMost(
      `kernel: ${promise} full, room given back within the start (the product beyond its reserve)`,
      overEmpty['kernel-within'],
      startTarget,
      '',
    ),
    atMost(
      `kernel: ${promise} full, nobody told (a host without the product's reserve)`,
      overEmpty.kernel,
      startTarget,
      '',
    ),
    atMost(`lru: ${promise} full, room kept free ahead`, overEmpty['lru-ahead'], startTarget, ''),
    atMost(`lru: ${promise} full, room given back within the start`, overEmpty['lru-within'], startTarget, ''),
  ]
}

function judgeTorn({ tornReads, stress }: OpportunisticMeasured): Verdict {
  const accepted = stress.reduce((sum, one) => sum + one.accepted, 0)
  return {
    promise: `torn reads among ${accepted} accepted`,
    target: '0',
    measured: String(tornReads),
    met: tornReads === 0,
  }
}

function atMost(promise: string, figure: number, target: number, unit: string): Verdict {
  const digits = unit === '' ? 2 : 0
  return { promise, target: `≤ ${target}${unit}`, measured: `${figure.toFixed(digits)}${unit}`, met: figure <= target }
}
