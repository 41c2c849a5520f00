/**
 * The section `order`: page numbers as differences to the one before, the four bytes of each in planes of their own.
 * Neighbours are mostly near each other, so the upper planes are nearly all 00 or ff, and zstd makes little of them.
 */

export function encodeOrder(order: Uint32Array): Buffer {
  const bytes = Buffer.allocUnsafe(order.length * 4)
  let before = 0
  for (let index = 0; index < order.length; index += 1) {
    const page = order[index] ?? 0
    const step = page - before
    for (let plane = 0; plane < 4; plane += 1) bytes[plane * order.length + index] = step >>> (8 * plane)
    before = page
  }
  return bytes
}

/** @param bytes four for each page */
export function decodeOrder(bytes: Buffer): Uint32Array {
  const order = new Uint32Array(bytes.length / 4)
  let page = 0
  for (let index = 0; index < order.length; index += 1) {
    for (let plane = 0; plane < 4; plane += 1)
      page = (page + ((bytes[plane * order.length + index] ?? 0) << (8 * plane))) >>> 0
    order[index] = page
  }
  return order
}
