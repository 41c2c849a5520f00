/**
 * Which templates are being forked or made just now. A fork has no record for a while (its child is being
 * spawned), so records alone cannot say whether a template may go.
 */
export class TemplateUses {
  readonly #counts = new Map<string, number>()

  /** Until it is disposed of, the template is in use. */
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
