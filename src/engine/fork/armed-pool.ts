import { isRunning } from '../../host/process-identity.ts'
import { asRametError } from '../../shared/errors.ts'
import type { EngineParts } from '../parts.ts'
import type { TemplateRecord } from '../records.ts'
import { startNeed } from '../vm/limits-of-vm.ts'
import { type ArmedChild, armChild, discardArmed, templateParent } from './child.ts'

interface Shelf {
  armed: ArmedChild[]
  /** the refill under way, if any */
  filling: Promise<void> | undefined
}

/**
 * QEMU processes started ahead, for each template as many as it wants. A fork takes one, and the shelf is
 * filled again one by one afterwards, so that filling never competes with more than one fork.
 */
export class ArmedPool {
  readonly #parts: EngineParts
  readonly #shelves = new Map<string, Shelf>()
  #stopped = false

  constructor(parts: EngineParts) {
    this.#parts = parts
  }

  count(templateId: string): number {
    return this.#shelves.get(templateId)?.armed.length ?? 0
  }

  total(): number {
    return [...this.#shelves.values()].reduce((sum, shelf) => sum + shelf.armed.length, 0)
  }

  /** An armed child that still lives; undefined when the shelf is empty. */
  take(templateId: string): ArmedChild | undefined {
    const shelf = this.#shelves.get(templateId)
    for (let child = shelf?.armed.shift(); child !== undefined; child = shelf?.armed.shift()) {
      if (isRunning(child.launched.qemu.identity)) return child
      this.#discardLater(child)
    }
    return undefined
  }

  /** Fills the shelf of a template in the background. */
  refill(template: TemplateRecord): void {
    if (this.#stopped || template.armed === 0) return
    const shelf = this.#shelfOf(template.id)
    if (shelf.filling !== undefined) return
    shelf.filling = this.#fill(template.id, shelf).finally(() => {
      shelf.filling = undefined
    })
  }

  /** Resolves when the shelf is as full as it gets now. */
  async filled(templateId: string): Promise<void> {
    await this.#shelves.get(templateId)?.filling
  }

  /** Ends all armed children of a template, and arms no more until `refill`. */
  async empty(templateId: string): Promise<void> {
    const shelf = this.#shelves.get(templateId)
    this.#shelves.delete(templateId)
    if (shelf === undefined) return
    await shelf.filling
    await Promise.all(shelf.armed.map((child) => discardArmed(this.#parts, child)))
  }

  /** The daemon ends: an armed child is of no use to the next one, since its stream's socket ends too. */
  async stop(): Promise<void> {
    this.#stopped = true
    await Promise.all([...this.#shelves.keys()].map((templateId) => this.empty(templateId)))
  }

  async #fill(templateId: string, shelf: Shelf): Promise<void> {
    const { context } = this.#parts
    for (;;) {
      const template = context.templates.get(templateId)
      const wanted = template?.state === 'ready' ? template.armed : 0
      if (this.#stopped || template === undefined || this.#shelves.get(templateId) !== shelf) return
      if (shelf.armed.length >= wanted) return
      try {
        using _ = await this.#parts.admission.admit(startNeed(`a child of ${template.name}`, 0))
        const child = await armChild(this.#parts, templateParent(template), { id: 'arm' })
        if (this.#shelves.get(templateId) === shelf && !this.#stopped) shelf.armed.push(child)
        else await discardArmed(this.#parts, child)
      } catch (error) {
        // The next fork spawns for itself, and reports what is wrong if it still is.
        context.log.warn({ template: template.name, error: asRametError(error).message }, 'could not arm a child')
        return
      }
    }
  }

  /** A fork does not wait for what is left of a child that died on the shelf. */
  #discardLater(child: ArmedChild): void {
    discardArmed(this.#parts, child).catch((error: unknown) =>
      this.#parts.context.log.warn({ error: asRametError(error).message }, 'an armed child could not be taken away'),
    )
  }

  #shelfOf(templateId: string): Shelf {
    const known = this.#shelves.get(templateId)
    if (known !== undefined) return known
    const shelf: Shelf = { armed: [], filling: undefined }
    this.#shelves.set(templateId, shelf)
    return shelf
  }
}
