/** Four steps a doubling would be off by 9 %; these are off by less than 3 %. */
const stepsPerDoubling = 16
/** From 0.1 µs to about 7 hours. */
const smallestMs = 0.0001
const bucketCount = stepsPerDoubling * 38

/** Durations, counted in buckets: as much memory for a million of them as for one. */
export class Histogram {
  readonly #buckets = new Uint32Array(bucketCount)
  #count = 0
  #sum = 0
  #max = 0

  add(ms: number): void {
    const bucket = Math.floor(Math.log2(Math.max(ms, smallestMs) / smallestMs) * stepsPerDoubling)
    const index = Math.min(bucketCount - 1, bucket)
    this.#buckets[index] = (this.#buckets[index] ?? 0) + 1
    this.#count += 1
    this.#sum += ms
    this.#max = Math.max(this.#max, ms)
  }

  get total(): number {
    return this.#sum
  }

  get max(): number {
    return this.#max
  }

  /** @returns the middle of the bucket that holds it, 0 when nothing was added */
  quantile(fraction: number): number {
    let left = Math.ceil(this.#count * fraction)
    if (left === 0) return 0
    for (let index = 0; index < bucketCount; index += 1) {
      left -= this.#buckets[index] ?? 0
      if (left <= 0) return Math.min(this.#max, smallestMs * 2 ** ((index + 0.5) / stepsPerDoubling))
    }
    return this.#max
  }
}
