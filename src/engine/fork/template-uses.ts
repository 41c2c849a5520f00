/**
 * Which templates, snapshots and images are being forked, restored, read, made or imported onto just now. What comes of it has no record for a
 * while (a child is being spawned), so records alone cannot say whether one may go.
 */
export class TemplateUses {
  readonly #counts = new Map<string, number>()

  /** Until it is disposed of, the template, snapshot or image is in use. */
  hold(templateId: string): Disposable {
    this.#counts.set(templateId, this.count(templateId) + 1)
    return { [Symbol.dispose]: () => this.#release(templateId) }
  }

  count(templateId: string): number {
    return this.#counts.get(templateId) ?? 0
  }

  #release(templateId: string): void {
    const left = this.count(templateId) - 1
    if (left > 0) this.#counts.set(templateId, left)
    else this.#counts.delete(templateId)
  }
}
