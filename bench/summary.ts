/** What a series of figures comes to. Unit as the figures'. */
export interface Summary {
  count: number
  min: number
  p50: number
  p90: number
  p99: number
  max: number
}

/**
 * The figure below which the given part of all lie, interpolated between neighbours. With 20 figures the
 * 99th percentile lies between the two largest: it says how bad it was, not how bad it gets.
 *
 * @param part 0 to 1
 */
export function quantile(figures: readonly number[], part: number): number {
  const sorted = [...figures].sort((a, b) => a - b)
  const position = (sorted.length - 1) * part
  const below = sorted[Math.floor(position)] ?? Number.NaN
  const above = sorted[Math.ceil(position)] ?? Number.NaN
  return below + (above - below) * (position - Math.floor(position))
}

export function summarize(figures: readonly number[]): Summary {
  return {
    count: figures.length,
    min: quantile(figures, 0),
    p50: quantile(figures, 0.5),
    p90: quantile(figures, 0.9),
    p99: quantile(figures, 0.99),
    max: quantile(figures, 1),
  }
}

/** One summary for each name that occurs in the samples; a sample may lack some. */
export function summarizeAll(samples: readonly Readonly<Record<string, number>>[]): Record<string, Summary> {
  const figures = new Map<string, number[]>()
  for (const sample of samples) {
    for (const [name, figure] of Object.entries(sample)) figures.set(name, [...(figures.get(name) ?? []), figure])
  }
  return Object.fromEntries([...figures].map(([name, values]) => [name, summarize(values)]))
}
