/**
 * What is in use right now, by id: vms that somebody calls; templates, snapshots and images that are being forked,
 * restored, read, made or imported onto. What comes of that has no record for a while, so records alone cannot say
 * whether one may go. Not stored: what a daemon knows of it begins with the daemon.
 */
export class Uses {
  readonly #held = new Map<string, number>()
  /** called whenever something has come out of use */
  onUnused: (id: string) => void = () => {}

  /** It is in use until what this returns is disposed of, which may be done more than once. */
  hold(id: string): Disposable {
    this.#held.set(id, (this.#held.get(id) ?? 0) + 1)
    let over = false
    return {
      [Symbol.dispose]: () => {
        if (over) return
        over = true
        this.#release(id)
      },
    }
  }

  /** It was in use until this moment. */
  touch(id: string): void {
    this.hold(id)[Symbol.dispose]()
  }

  isHeld(id: string): boolean {
    return this.#held.has(id)
  }

  #release(id: string): void {
    const left = (this.#held.get(id) ?? 1) - 1
    if (left > 0) return void this.#held.set(id, left)
    this.#held.delete(id)
    this.onUnused(id)
  }
}
