/**
 * A number that rises each time memory changes hands, 64 bits as two words of an `Int32Array`: the low one, then the high one.
 *
 * A reader has a copy of it from before, copies the bytes, then compares. Two loads of 32 bits are as good as one of 64
 * (and cheaper than a bigint) when the low word is compared *first*: the number only rises, and whoever raises it writes the high word
 * first when the low one wraps. If then the high word, compared later, is still the reader's, the low word was compared
 * while the high one was the reader's too; so at that moment, after the copy, the whole number was.
 */

/** Only by one thread at a time. Its new owner may write into the memory after that. */
export function raise(words: Int32Array, at: number): void {
  const low = (Atomics.load(words, at) + 1) | 0
  if (low === 0) Atomics.store(words, at + 1, (Atomics.load(words, at + 1) + 1) | 0)
  Atomics.store(words, at, low)
}

/**
 * The order is what counts: after the copy, and low before high. These are ordinary loads, of aligned words that are never torn.
 * The compiler cannot move them before the copy, a call of native code that may have changed anything; the processor is
 * seen to by `fenceLoads`. `Atomics.load` is a call too in this engine, and two of them keep the copy that
 * follows from beginning: 30 ns for a page that is near, 130 ns for one that is far.
 */
export function isSame(words: Int32Array, at: number, copies: Int32Array, copyAt: number): boolean {
  return words[at] === copies[copyAt] && words[at + 1] === copies[copyAt + 1]
}

export function generationOf(words: Int32Array, at: number): bigint {
  return (BigInt(Atomics.load(words, at + 1) >>> 0) << 32n) | BigInt(Atomics.load(words, at) >>> 0)
}

export function setGeneration(words: Int32Array, at: number, generation: bigint): void {
  Atomics.store(words, at + 1, Number(BigInt.asIntN(32, generation >> 32n)))
  Atomics.store(words, at, Number(BigInt.asIntN(32, generation)))
}

const fenceWord = new Int32Array(new SharedArrayBuffer(4))
const ordersLoads = process.arch === 'x64'

/**
 * Keeps the loads of a copy before those that follow. x86 does so by itself; elsewhere an operation that writes does, on a word that
 * is nobody's, since writing to a page that was released would take it back.
 */
export function fenceLoads(): void {
  if (!ordersLoads) Atomics.add(fenceWord, 0, 0)
}
