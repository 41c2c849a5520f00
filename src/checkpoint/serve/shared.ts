/** Things that several restores use at once: opened for the first, closed after the last. */

interface Entry<T> {
  readonly opened: Promise<T>
  userCount: number
}

export interface Lease<T> extends AsyncDisposable {
  readonly value: T
}

export class Shared<T extends AsyncDisposable> {
  readonly #entries = new Map<string, Entry<T>>()

  /**
   * @param key of what is opened; who gives the same gets the same
   * @returns to be disposed of by this user
   * @throws what `open` throws
   */
  async acquire(key: string, open: () => Promise<T>): Promise<Lease<T>> {
    const entry = this.#entries.get(key) ?? { opened: open(), userCount: 0 }
    entry.userCount += 1
    this.#entries.set(key, entry)
    const release = async () => {
      entry.userCount -= 1
      if (entry.userCount > 0) return
      this.#entries.delete(key)
      const opened = await entry.opened.catch(() => undefined)
      await opened?.[Symbol.asyncDispose]()
    }
    try {
      return { value: await entry.opened, [Symbol.asyncDispose]: release }
    } catch (error) {
      await release()
      throw error
    }
  }
}
