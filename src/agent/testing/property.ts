import process from 'node:process'
import fc from 'fast-check'

/**
 * Checks a property. A failure prints its seed; `RAMET_SEED=<seed>` runs the same cases again, and
 * `RAMET_FUZZ_FACTOR=<n>` runs n times as many.
 */
export function checkProperty<Values>(property: fc.IRawProperty<Values>, numRuns: number): void {
  const { RAMET_SEED: seed, RAMET_FUZZ_FACTOR: factor = '1' } = process.env
  fc.assert(property, { numRuns: numRuns * Number(factor), ...(seed === undefined ? {} : { seed: Number(seed) }) })
}
