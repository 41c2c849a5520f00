/** What a counting loop in a guest had counted when its line came. */
export interface Tick {
  atMs: number
  count: number
}

/** How a fork weighed on its parent. Rates are counts per second. */
export interface Slowdown {
  beforeRate: number
  /** from the request to its answer */
  duringRate: number
  afterRate: number
  /** from the request until the last stretch that was slower than nine tenths of before */
  slowedMs: number
  /** time at the rate of before that the parent lost, until `afterMs` past the answer */
  lostMs: number
}

const stretchMs = 200
const slowPart = 0.9

/** @param aroundMs how long before the request and after the answer to look */
export function slowdownOf(
  ticks: readonly Tick[],
  call: { startMs: number; endMs: number },
  aroundMs: number,
): Slowdown {
  const rate = (fromMs: number, toMs: number) =>
    ((countAt(ticks, toMs) - countAt(ticks, fromMs)) / (toMs - fromMs)) * 1000
  const beforeRate = rate(call.startMs - aroundMs, call.startMs)
  const endMs = call.endMs + aroundMs
  let slowedMs = 0
  for (let atMs = call.startMs; atMs + stretchMs <= endMs; atMs += stretchMs / 4) {
    if (rate(atMs, atMs + stretchMs) < slowPart * beforeRate) slowedMs = atMs + stretchMs - call.startMs
  }
  const counted = countAt(ticks, endMs) - countAt(ticks, call.startMs)
  return {
    beforeRate,
    duringRate: rate(call.startMs, call.endMs),
    afterRate: rate(call.endMs, endMs),
    slowedMs,
    lostMs: endMs - call.startMs - (counted / beforeRate) * 1000,
  }
}

/** Between two lines the loop is taken to have gone on evenly; outside of all it stands still. */
export function countAt(ticks: readonly Tick[], atMs: number): number {
  const next = ticks.findIndex((tick) => tick.atMs >= atMs)
  const above = ticks[next]
  if (above === undefined) return ticks.at(-1)?.count ?? 0
  const below = ticks[next - 1]
  if (below === undefined || above.atMs === below.atMs) return above.count
  return below.count + ((above.count - below.count) * (atMs - below.atMs)) / (above.atMs - below.atMs)
}
