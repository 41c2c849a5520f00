/**
 * Lists of numbers of 32 bits, as differences to the one before, the four bytes of each in planes of their own.
 * Neighbours are mostly near each other, so the upper planes are nearly all 00 or ff, and zstd makes little of them.
 */

export function encodeNumbers(numbers: Uint32Array | Int32Array): Buffer {
  const bytes = Buffer.allocUnsafe(numbers.length * 4)
  let before = 0
  for (let index = 0; index < numbers.length; index += 1) {
    const number = numbers[index] ?? 0
    const step = number - before
    for (let plane = 0; plane < 4; plane += 1) bytes[plane * numbers.length + index] = step >>> (8 * plane)
    before = number
  }
  return bytes
}

/** @param bytes four for each number */
export function decodeNumbers(bytes: Buffer): Uint32Array<ArrayBuffer> {
  const numbers = new Uint32Array(bytes.length / 4)
  let number = 0
  for (let index = 0; index < numbers.length; index += 1) {
    for (let plane = 0; plane < 4; plane += 1)
      number = (number + ((bytes[plane * numbers.length + index] ?? 0) << (8 * plane))) >>> 0
    numbers[index] = number
  }
  return numbers
}
