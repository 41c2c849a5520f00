import { limits } from '../shared/limits.ts'

/** Remembers the proofs of fresh randomness that the guests of one base have given. */
export interface ProofRegistry {
  /** @returns false when this proof has been given before */
  add(proof: Uint8Array): boolean
}

/** Remembers the newest `limits.proofCount` for as long as this process lives. */
export class MemoryProofRegistry implements ProofRegistry {
  readonly #seen = new Set<string>()

  add(proof: Uint8Array): boolean {
    const key = Buffer.from(proof).toString('base64')
    if (this.#seen.has(key)) return false
    this.#seen.add(key)
    if (this.#seen.size > limits.proofCount) {
      for (const oldest of this.#seen) {
        this.#seen.delete(oldest)
        break
      }
    }
    return true
  }
}
