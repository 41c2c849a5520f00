/** A lock between threads, in one word of shared memory. Held for some ten instructions, never while bytes are copied. */

const free = 0
const held = 1
/** held, and somebody sleeps until it is not */
const awaited = 2

const spinCount = 100

/**
 * @param patienceMs how long to sleep for it
 * @returns false when its holder did not let go in that time: it was ended in the middle, and will never
 */
export function lockWord(word: Int32Array, at: number, patienceMs: number): boolean {
  for (let spin = 0; spin < spinCount; spin += 1)
    if (Atomics.compareExchange(word, at, free, held) === free) return true
  while (Atomics.exchange(word, at, awaited) !== free)
    if (Atomics.wait(word, at, awaited, patienceMs) === 'timed-out') return false
  return true
}

export function unlockWord(word: Int32Array, at: number): void {
  if (Atomics.exchange(word, at, free) === awaited) Atomics.notify(word, at, 1)
}
