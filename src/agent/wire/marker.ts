/**
 * The marker that begins a link session, and how it is kept out of everything else.
 * See docs/agent-protocol.md, section 2.
 */

/** Begins a session, in either direction; a nonce of `nonceBytes` follows. */
export const marker: Buffer = Buffer.from('ff0052414d4554fe014c494e4b00fffd', 'hex')

export const nonceBytes = 16

const openingBytes = marker.length + nonceBytes

/** What no payload may contain: with it gone, payload and header together cannot form the marker either. */
const guard = marker.subarray(0, 12)

export function containsGuard(payload: Uint8Array): boolean {
  return viewOf(payload).includes(guard)
}

/**
 * Cuts bytes so that no piece contains the marker's first 12 bytes. The pieces are views; together they are `payload`.
 * The guard cannot overlap itself (`ff` occurs once in it), so one cut an occurrence is enough.
 */
export function splitAtGuard(payload: Uint8Array): Buffer[] {
  const pieces: Buffer[] = []
  let rest = viewOf(payload)
  for (let at = rest.indexOf(guard); at >= 0; at = rest.indexOf(guard)) {
    const cut = at + guard.length / 2
    pieces.push(rest.subarray(0, cut))
    rest = rest.subarray(cut)
  }
  pieces.push(rest)
  return pieces
}

/** Finds marker + nonce in a byte stream that may begin anywhere and be cut anywhere. Keeps at most 31 bytes. */
export class OpeningScanner {
  #tail: Buffer = Buffer.alloc(0)

  /**
   * @param accepts whether a nonce is one that is waited for
   * @returns the accepted nonce and the bytes after it, or undefined when more input is needed
   */
  push(chunk: Uint8Array, accepts: (nonce: Buffer) => boolean): { nonce: Buffer; rest: Buffer } | undefined {
    const data = this.#tail.length === 0 ? viewOf(chunk) : Buffer.concat([this.#tail, chunk])
    let at = data.indexOf(marker)
    // What follows another's marker is searched again: a nonce cut off by a death has the next marker inside it.
    for (; at >= 0 && at + openingBytes <= data.length; at = data.indexOf(marker, at + marker.length)) {
      const end = at + openingBytes
      const nonce = data.subarray(at + marker.length, end)
      if (!accepts(nonce)) continue
      this.#tail = Buffer.alloc(0)
      return { nonce, rest: data.subarray(end) }
    }
    const keepFrom = at >= 0 ? at : Math.max(0, data.length - marker.length + 1)
    // A copy, so that a few bytes do not keep a whole chunk alive.
    this.#tail = Buffer.from(data.subarray(keepFrom))
    return undefined
  }
}

/** The same bytes as a Buffer, without copying. */
export function viewOf(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
