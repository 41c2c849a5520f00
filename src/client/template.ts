import type { Template as TemplateInfo, TemplateUpdate } from '../api/template.ts'
import { type ActionOptions, act } from './action.ts'
import type { CallOptions } from './call-options.ts'
import type { ForkError } from './errors.ts'
import { path, type Transport } from './transport.ts'
import { type ForkOptions, type ForkReport, forkAllFrom, forkFrom, forkReportFrom, type Vm } from './vm.ts'

/**
 * A vm that was stopped in the state wanted and sealed: children are forked from it in milliseconds.
 *
 * @example
 * ```ts
 * import { Ramet, Vm } from 'ramet'
 * const ramet = new Ramet()
 * const template = await ramet.templates.get('warm-web')
 * const children = await template.fork({ count: 10, namePrefix: 'worker' })
 * console.log(children.filter((child) => child instanceof Vm).length, 'of 10 run')
 * ```
 */
export class Template {
  readonly #transport: Transport
  #info: TemplateInfo

  /** @internal */
  constructor(transport: Transport, info: TemplateInfo) {
    this.#transport = transport
    this.#info = info
  }

  get id(): string {
    return this.#info.id
  }

  get name(): string {
    return this.#info.name
  }

  get state(): TemplateInfo['state'] {
    return this.#info.state
  }

  /** Everything that was known of it when last looked at. */
  get info(): TemplateInfo {
    return this.#info
  }

  toJSON(): TemplateInfo {
    return this.#info
  }

  /** Looks again. @throws RametApiError `TEMPLATE_NOT_FOUND` */
  async refresh(options: CallOptions = {}): Promise<TemplateInfo> {
    this.#info = await this.#transport.json<TemplateInfo>({ path: this.#path(), signal: options.signal })
    return this.#info
  }

  /** Changes its name, its labels, or how many children it keeps armed. @throws RametApiError `NAME_TAKEN` */
  async update(changes: TemplateUpdate, options: CallOptions = {}): Promise<TemplateInfo> {
    const request = { path: this.#path(), json: changes, signal: options.signal }
    this.#info = await this.#transport.json<TemplateInfo>({ method: 'PATCH', ...request })
    return this.#info
  }

  /**
   * Forks children. One result each, in order: the child, or why it was not made.
   *
   * @throws RametApiError when the fork as a whole was refused: `FROZEN_BY_TEMPLATE`, `NAME_TAKEN`, `NO_CAPACITY`
   */
  async fork(options: ForkOptions = {}): Promise<(Vm | ForkError)[]> {
    return await forkFrom(this.#transport, `${this.#path()}/fork`, options)
  }

  /** The same, all or none: if one child fails the others are removed. @throws RametApiError `FORK_INCOMPLETE` */
  async forkAll(options: ForkOptions = {}): Promise<Vm[]> {
    return await forkAllFrom(this.#transport, `${this.#path()}/fork`, options)
  }

  /** The same as {@link Template.fork}, with what it cost. @throws RametApiError */
  async forkReport(options: ForkOptions & { atomic?: boolean } = {}): Promise<ForkReport> {
    return await forkReportFrom(this.#transport, `${this.#path()}/fork`, options)
  }

  /** Removes it. @throws RametApiError `IN_USE` naming its children */
  async remove(options: ActionOptions = {}): Promise<void> {
    await act(this.#transport, { method: 'DELETE', path: this.#path() }, options)
  }

  #path(): string {
    return path`/v1/templates/${this.#info.id}`
  }
}
