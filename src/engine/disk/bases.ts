import { closeSync } from 'node:fs'
import { join } from 'node:path'
import { isRunning } from '../../host/process-identity.ts'
import type { OpenBase } from '../../memory/base.ts'
import { type KeptBase, keepBase, openBase, releaseBase } from '../../memory/keeper.ts'
import { loadBase } from '../../memory/store.ts'
import { isRametError, RametError } from '../../shared/errors.ts'
import { faultPoint } from '../../shared/fault.ts'
import type { EngineContext } from '../context.ts'
import type { TemplateRecord, VmRecord } from '../records.ts'

export const baseFile = 'memory.base'

/**
 * Memory bases: those of templates, resident behind a keeper and loaded from their files at first use; and
 * folded ones, which live in memory for as long as a vm maps them.
 */
export class Bases {
  readonly #context: EngineContext
  readonly #open = new Map<string, OpenBase>()
  /** being opened or loaded, once for all who want it */
  readonly #opening = new Map<string, Promise<OpenBase>>()
  /** folded bases whose children are on their way, or that are being saved, how often */
  readonly #held = new Map<string, number>()

  constructor(context: EngineContext) {
    this.#context = context
  }

  isResident(template: TemplateRecord): boolean {
    return template.kept !== undefined && isRunning(template.kept.keeper)
  }

  /**
   * The base of a template, loaded if need be. The descriptor stays this object's.
   *
   * @throws RametError `BASE_DAMAGED`, `NO_CAPACITY`
   */
  async of({ id }: Pick<TemplateRecord, 'id'>): Promise<OpenBase> {
    const opening = this.#opening.get(id)
    if (opening !== undefined) return opening
    // As it is now: the caller's record may be older than the base's last loading.
    const template = this.#context.templates.find(id)
    const known = this.#open.get(id)
    if (known !== undefined && this.isResident(template)) return known
    const loading = this.#openOrLoad(template, known).finally(() => this.#opening.delete(id))
    this.#opening.set(id, loading)
    return loading
  }

  /**
   * Gives a new base to a keeper, so that it outlives the daemon. The descriptor is this object's from then on, or the
   * caller's still when it fails.
   *
   * @throws RametError `NO_CAPACITY`, `NO_SPACE`; no keeper is left
   */
  async keep(templateId: string, base: OpenBase): Promise<KeptBase> {
    const { journal } = this.#context
    const [id = 0] = journal.intend([
      { operation: 'keep', owner: templateId, kind: 'keeper', ident: { baseId: base.id } },
    ])
    let kept: KeptBase | undefined
    try {
      faultPoint('base.intended')
      kept = await keepBase(base, this.#context.spawn)
      journal.hold([{ id, ident: { baseId: base.id, ...kept.keeper } }])
      this.#open.set(templateId, base)
      return kept
    } catch (error) {
      if (kept !== undefined) await releaseBase(kept)
      journal.release([id])
      throw error
    }
  }

  /** Lets the memory go; children that map it keep what they map. */
  async drop(template: TemplateRecord): Promise<void> {
    await this.#opening.get(template.id)?.catch(() => {})
    await this.#release(template.id, template.kept)
  }

  async #release(owner: string, kept: KeptBase | undefined): Promise<void> {
    const known = this.#open.get(owner)
    this.#open.delete(owner)
    if (known !== undefined) closeSync(known.fd)
    if (kept !== undefined) await releaseBase(kept)
    const { journal } = this.#context
    journal.release(
      journal
        .openOf(owner)
        .filter(({ kind }) => kind === 'keeper')
        .map(({ id }) => id),
    )
  }

  /**
   * The base under a vm's memory; undefined when its memory is its own.
   *
   * @throws RametError `BASE_DAMAGED`, `NOT_FOUND`
   */
  async ofVm(vm: Pick<VmRecord, 'baseId'>): Promise<OpenBase | undefined> {
    const { templates, bases } = this.#context
    if (vm.baseId === undefined) return undefined
    const template = templates.list().find((candidate) => candidate.baseId === vm.baseId)
    if (template !== undefined) return this.of(template)
    const { id, kept } = bases.find(vm.baseId)
    const base = this.#open.get(id) ?? openBase(kept)
    this.#open.set(id, base)
    return base
  }

  /**
   * Keeps a base that was folded for children of a running vm, until the last vm that maps it is gone.
   *
   * @throws RametError `NO_CAPACITY`, `NO_SPACE`; the base is no more then
   */
  async adopt(base: OpenBase): Promise<void> {
    const { bases, clock } = this.#context
    let kept: KeptBase | undefined
    try {
      kept = await this.keep(base.id, base)
      faultPoint('base.kept')
      await bases.create({ schemaVersion: 1, id: base.id, name: base.id, kept, createdAtMs: clock.nowMs() })
    } catch (error) {
      // Nobody else would know of it, and it is as large as a vm.
      this.#open.set(base.id, base)
      await this.#release(base.id, kept)
      throw error
    }
  }

  /** Lets go of folded bases that no vm maps any more. */
  async sweep(): Promise<void> {
    const { bases, vms } = this.#context
    const used = new Set(vms.list().map((vm) => vm.baseId))
    for (const { id, kept } of bases.list()) {
      if (used.has(id) || this.#held.has(id)) continue
      await this.#release(id, kept)
      await bases.remove(id)
    }
  }

  /** Keeps a base from being swept while children over it are on their way, or it is read. */
  hold(baseId: string): Disposable {
    this.#held.set(baseId, (this.#held.get(baseId) ?? 0) + 1)
    return {
      [Symbol.dispose]: () => {
        const count = (this.#held.get(baseId) ?? 1) - 1
        if (count === 0) this.#held.delete(baseId)
        else this.#held.set(baseId, count)
      },
    }
  }

  async #openOrLoad(template: TemplateRecord, known: OpenBase | undefined): Promise<OpenBase> {
    if (template.kept !== undefined && this.isResident(template)) {
      const base = openBase(template.kept)
      this.#open.set(template.id, base)
      return base
    }
    // A base that is still open here has lost its keeper only.
    const base = known ?? (await this.#load(template))
    const kept = await this.keep(template.id, base).catch((error: unknown) => {
      if (base !== known) closeSync(base.fd)
      throw error
    })
    await this.#context.templates.update(template.id, { kept })
    this.#context.events.emit({
      type: 'template.state',
      resource: { kind: 'template', id: template.id, name: template.name },
      data: { state: 'ready' },
    })
    return base
  }

  #load(template: TemplateRecord): Promise<OpenBase> {
    this.#context.log.info({ template: template.name }, 'loading the memory of a template')
    return loadBase(join(this.#context.paths.template(template.id), baseFile), { id: template.baseId }).catch(
      (error: unknown) => {
        throw damagedMemory(template.name, error)
      },
    )
  }
}

/** A template without its memory is none: the refusal says whose memory it is, and what helps. */
function damagedMemory(template: string, error: unknown): unknown {
  if (!isRametError(error, 'BASE_DAMAGED') && !isRametError(error, 'NOT_FOUND')) return error
  return new RametError('BASE_DAMAGED', {
    message: `the memory of template ${template} is damaged: ${error.message}`,
    remediation: `Put the file back as it was, or remove the template, \`ramet template rm ${template}\`, and make it again.`,
    cause: error,
    details: error.details,
  })
}
