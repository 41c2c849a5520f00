/** `y = atZero + slope * x` */
export interface Line {
  atZero: number
  slope: number
}

/** Least squares. @returns undefined for points that do not determine a line */
export function fitLine(points: readonly { x: number; y: number }[]): Line | undefined {
  const mean = (of: (point: { x: number; y: number }) => number) =>
    points.reduce((sum, point) => sum + of(point), 0) / points.length
  const meanX = mean(({ x }) => x)
  const meanY = mean(({ y }) => y)
  const spread = mean(({ x }) => (x - meanX) ** 2)
  if (!(spread > 0)) return undefined
  const slope = mean(({ x, y }) => (x - meanX) * (y - meanY)) / spread
  return { atZero: meanY - slope * meanX, slope }
}

/**
 * Where a rising line meets a height: below it the line is lower.
 *
 * @returns 0 when it is never lower, Infinity when it always is
 */
export function crossOver(line: Line, height: number): number {
  if (line.atZero >= height) return 0
  return line.slope > 0 ? (height - line.atZero) / line.slope : Number.POSITIVE_INFINITY
}
