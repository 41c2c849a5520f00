/** A bit a page: page 0 is the lowest bit of the first byte. */
export class Bitmap {
  readonly bytes: Buffer
  readonly length: number

  constructor(length: number, bytes: Buffer = Buffer.alloc(Math.ceil(length / 8))) {
    this.length = length
    this.bytes = bytes
  }

  get(index: number): boolean {
    return (((this.bytes[index >>> 3] ?? 0) >>> (index & 7)) & 1) === 1
  }

  set(index: number): void {
    this.bytes[index >>> 3] = (this.bytes[index >>> 3] ?? 0) | (1 << (index & 7))
  }

  /** of bits that are set, also of those behind the end, which should be none */
  count(): number {
    let sum = 0
    for (const byte of this.bytes) sum += onesIn[byte] ?? 0
    return sum
  }

  /** Whether the bits that fill up the last byte are clear. */
  get isTidy(): boolean {
    return this.length % 8 === 0 || (this.bytes.at(-1) ?? 0) >>> (this.length % 8) === 0
  }
}

const onesIn = Uint8Array.from({ length: 256 }, (_, byte) => {
  let ones = 0
  for (let rest = byte; rest > 0; rest >>>= 1) ones += rest & 1
  return ones
})
