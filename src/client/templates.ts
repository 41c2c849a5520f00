import type { TemplateCreated, TemplateCreateInput, Template as TemplateInfo, TemplateState } from '../api/template.ts'
import { type ActionOptions, act } from './action.ts'
import { type CallOptions, split } from './call-options.ts'
import { allRows } from './pages.ts'
import { Template } from './template.ts'
import { path, type Transport } from './transport.ts'
import { Vm } from './vm.ts'

/** What a template is made from (`from: 'vm'` or `from: 'image'`), and how to wait. */
export type TemplateCreateOptions = TemplateCreateInput & ActionOptions

/** The templates of a daemon. Got from `ramet.templates`. */
export class Templates {
  readonly #transport: Transport

  /** @internal */
  constructor(transport: Transport) {
    this.#transport = transport
  }

  /**
   * Makes a template. From a vm, which is consumed (with `keep` it goes on as the first child); or in one go from
   * an image, a start command and a readiness probe.
   *
   * @throws RametApiError `VM_NOT_FOUND`, `IMAGE_NOT_FOUND`, `NAME_TAKEN`, `ILLEGAL_STATE`, `READINESS_FAILED`
   *
   * @example
   * ```ts
   * import { Ramet } from 'ramet'
   * const ramet = new Ramet()
   * const vm = await ramet.vms.create({ image: 'debian', name: 'web' })
   * const { template } = await ramet.templates.create({ from: 'vm', vm: vm.id, name: 'warm-web' })
   * ```
   */
  async create(options: TemplateCreateOptions): Promise<{ template: Template; kept?: Vm }> {
    const { wire, action } = split(options)
    const request = { method: 'POST', path: '/v1/templates', json: wire } as const
    const { template, kept } = await act<TemplateCreated>(this.#transport, request, action)
    return {
      template: new Template(this.#transport, template),
      ...(kept === undefined ? {} : { kept: new Vm(this.#transport, kept) }),
    }
  }

  /** A template by id or name. @throws RametApiError `TEMPLATE_NOT_FOUND` */
  async get(ref: string, options: CallOptions = {}): Promise<Template> {
    const request = { path: path`/v1/templates/${ref}`, signal: options.signal }
    return new Template(this.#transport, await this.#transport.json<TemplateInfo>(request))
  }

  /** All templates, oldest first. @throws RametApiError */
  async list(options: CallOptions & { state?: readonly TemplateState[] } = {}): Promise<Template[]> {
    const { signal, ...query } = options
    const rows = await allRows<TemplateInfo>(this.#transport, { path: '/v1/templates', query, signal })
    return rows.map((info) => new Template(this.#transport, info))
  }
}
