import { RametApiError } from '../client/errors.ts'
import type { Image, Operation, Ramet, Snapshot, Template, Vm } from '../client/index.ts'
import { RametError } from '../shared/errors.ts'
import { nearest } from './suggest.ts'

interface Named {
  id: string
  name?: string
}

interface Kind<T extends Named> {
  noun: string
  /** names are compared by this */
  nameOf?: (thing: T) => string
  get(ref: string): Promise<T>
  list(): Promise<T[]>
}

/** A vm by its whole name, its id, or a beginning of the id that only one has. @throws RametApiError, RametError */
export function resolveVm(ramet: Ramet, text: string, signal: AbortSignal): Promise<Vm> {
  return resolve(text, {
    noun: 'vm',
    get: (ref) => ramet.vms.get(ref, { signal }),
    list: () => ramet.vms.list({ signal }),
  })
}

export function resolveTemplate(ramet: Ramet, text: string, signal: AbortSignal): Promise<Template> {
  return resolve(text, {
    noun: 'template',
    get: (ref) => ramet.templates.get(ref, { signal }),
    list: () => ramet.templates.list({ signal }),
  })
}

export function resolveSnapshot(ramet: Ramet, text: string, signal: AbortSignal): Promise<Snapshot> {
  return resolve(text, {
    noun: 'snapshot',
    get: (ref) => ramet.snapshots.get(ref, { signal }),
    list: () => ramet.snapshots.list({ signal }),
  })
}

export function resolveImage(ramet: Ramet, text: string, signal: AbortSignal): Promise<Image> {
  return resolve(text, {
    noun: 'image',
    nameOf: (image) => `${image.name}:${image.tag}`,
    get: (ref) => ramet.images.get(ref, { signal }),
    list: () => ramet.images.list({ signal }),
  })
}

export function resolveOperation(ramet: Ramet, text: string, signal: AbortSignal): Promise<Operation> {
  return resolve(text, {
    noun: 'operation',
    get: (ref) => ramet.operations.get(ref, { signal }),
    list: () => ramet.operations.list({ signal }),
  })
}

/** Several at once, in order; what is named twice comes once. */
export async function resolveVms(ramet: Ramet, texts: readonly string[], signal: AbortSignal): Promise<Vm[]> {
  const vms = new Map<string, Vm>()
  for (const text of texts) {
    const vm = await resolveVm(ramet, text, signal)
    vms.set(vm.id, vm)
  }
  return [...vms.values()]
}

/** What can be forked: a template, or else a vm. */
export async function resolveSource(ramet: Ramet, text: string, signal: AbortSignal): Promise<Template | Vm> {
  const kinds = [{ get: () => ramet.templates.get(text, { signal }) }, { get: () => ramet.vms.get(text, { signal }) }]
  for (const { get } of kinds) {
    try {
      return await get()
    } catch (error) {
      if (!isMiss(error)) throw error
    }
  }
  const [templates, vms] = [await ramet.templates.list({ signal }), await ramet.vms.list({ signal })]
  return pick<Template | Vm>(text, [...templates, ...vms], 'template or vm', () => undefined)
}

async function resolve<T extends Named>(text: string, kind: Kind<T>): Promise<T> {
  let missing: unknown
  try {
    return await kind.get(text)
  } catch (error) {
    if (!isMiss(error)) throw error
    missing = error
  }
  return pick(text, await kind.list(), kind.noun, () => missing, kind.nameOf)
}

/** Not there, or so written that it can be no whole name. */
export function isMiss(error: unknown): boolean {
  return error instanceof RametApiError && (error.status === 404 || error.code === 'INVALID_ARGUMENT')
}

function pick<T extends Named>(
  text: string,
  things: readonly T[],
  noun: string,
  missing: () => unknown,
  nameOf: (thing: T) => string = (thing) => thing.name ?? thing.id,
): T {
  // Never by the beginning of a name: web-1 would be web-10 as soon as web-1 itself is gone.
  const found = text === '' ? [] : things.filter((thing) => nameOf(thing) === text || thing.id.startsWith(text))
  const [only, second] = found
  if (only !== undefined && second === undefined) return only
  if (only !== undefined) {
    const names = found.map(nameOf)
    throw new RametError('INVALID_ARGUMENT', {
      message: `“${text}” could be ${names.slice(0, 5).join(', ')}${names.length > 5 ? ' and others' : ''}`,
      remediation: 'Write more of the id, or the name.',
      details: { candidates: names },
    })
  }
  const meant = nearest(text, things.map(nameOf))
  const list = noun === 'vm' ? '`ramet ls --all`' : noun === 'template or vm' ? '`ramet tree`' : `\`ramet ${noun} ls\``
  const error = missing()
  throw new RametError(codeOf(error), {
    message: `there is no ${noun} “${text}”`,
    remediation: `${meant === undefined ? '' : `Did you mean “${meant}”? `}See ${list} for what there is.`,
  })
}

function codeOf(error: unknown) {
  return error instanceof RametApiError && error.status === 404 ? error.code : 'NOT_FOUND'
}
