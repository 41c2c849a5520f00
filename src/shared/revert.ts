/**
 * A stack of undo steps for work that acquires several things. Each acquisition adds its undo;
 * leaving the scope without `keep()` runs them newest first.
 *
 * @example
 * await using revert = new Revert()
 * const file = await createFile()
 * revert.add('remove the file', () => file.remove())
 * await mayFail()
 * revert.keep()
 */
export class Revert implements AsyncDisposable {
  #steps: { what: string; undo: () => unknown }[] = []
  readonly #onError: (what: string, error: unknown) => void

  /** @param onError told of an undo step that failed; the others still run */
  constructor(onError: (what: string, error: unknown) => void = () => {}) {
    this.#onError = onError
  }

  add(what: string, undo: () => unknown): void {
    this.#steps.push({ what, undo })
  }

  /** The work succeeded: forget the undo steps. */
  keep(): void {
    this.#steps = []
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        await step.undo()
      } catch (error) {
        this.#onError(step.what, error)
      }
    }
  }
}
