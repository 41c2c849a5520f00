/** What the threads of `compressors.ts` share: for each slot the pages of one block, what to store of it, its checksum. */
import { blockDigestBytes } from './layout.ts'

/** Shared memory only, so that it can be handed to another thread as it is. */
export interface SlotMemory {
  readonly slotBytes: number
  readonly input: SharedArrayBuffer
  readonly output: SharedArrayBuffer
  readonly digests: SharedArrayBuffer
}

/** To a thread: compress so much of a slot. */
export interface CompressJob {
  readonly slot: number
  readonly rawBytes: number
}

/** From a thread. Of a block that does not shrink the output is not written. */
export interface CompressedJob {
  readonly slot: number
  readonly storedBytes: number
}

export function allocateSlots(count: number, slotBytes: number): SlotMemory {
  return {
    slotBytes,
    input: new SharedArrayBuffer(count * slotBytes),
    output: new SharedArrayBuffer(count * slotBytes),
    digests: new SharedArrayBuffer(count * blockDigestBytes),
  }
}

export function inputOf({ input, slotBytes }: SlotMemory, slot: number): Buffer {
  return Buffer.from(input, slot * slotBytes, slotBytes)
}

export function outputOf({ output, slotBytes }: SlotMemory, slot: number): Buffer {
  return Buffer.from(output, slot * slotBytes, slotBytes)
}

export function digestOf({ digests }: SlotMemory, slot: number): Buffer {
  return Buffer.from(digests, slot * blockDigestBytes, blockDigestBytes)
}
