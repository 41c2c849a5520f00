/** Numbers that follow from a seed alone, so that a run can be had again. */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** A whole number from 0 to below `bound`. */
  below(bound: number): number {
    // A counter through an avalanche: each bit of the count changes half of the result.
    this.#state = (this.#state + 0x9e3779b9) >>> 0
    let word = this.#state
    word = Math.imul(word ^ (word >>> 16), 0x21f0aaad)
    word = Math.imul(word ^ (word >>> 15), 0x735a2d97)
    return Math.floor((((word ^ (word >>> 15)) >>> 0) / 2 ** 32) * bound)
  }

  chance(part: number): boolean {
    return this.below(1_000_000) < part * 1_000_000
  }

  pick<T>(choices: readonly T[]): T {
    const choice = choices[this.below(choices.length)]
    if (choice === undefined) throw new Error('nothing to pick from')
    return choice
  }

  /** One of the choices, each as likely as its weight says. */
  weighted<T>(choices: readonly (readonly [T, number])[]): T {
    let left = this.below(choices.reduce((sum, [, weight]) => sum + weight, 0))
    for (const [choice, weight] of choices) {
      if (left < weight) return choice
      left -= weight
    }
    throw new Error('nothing to pick from')
  }
}
