/** Who has to do with each vm right now. Not stored: what a daemon knows of it begins with the daemon. */
export class Uses {
  readonly #held = new Map<string, number>()
  /** called whenever a vm has come out of use */
  onUnused: (vmId: string) => void = () => {}

  /** The vm is in use until what this returns is disposed of, which may be done more than once. */
  hold(vmId: string): Disposable {
    this.#held.set(vmId, (this.#held.get(vmId) ?? 0) + 1)
    let over = false
    return {
      [Symbol.dispose]: () => {
        if (over) return
        over = true
        this.#release(vmId)
      },
    }
  }

  /** It was in use until this moment. */
  touch(vmId: string): void {
    this.hold(vmId)[Symbol.dispose]()
  }

  isHeld(vmId: string): boolean {
    return this.#held.has(vmId)
  }

  #release(vmId: string): void {
    const left = (this.#held.get(vmId) ?? 1) - 1
    if (left > 0) return void this.#held.set(vmId, left)
    this.#held.delete(vmId)
    this.onUnused(vmId)
  }
}
