import type { Ramet } from '../../client/index.ts'
import { RametError } from '../../shared/errors.ts'
import { defineCommand, parsed, required } from '../command.ts'
import type { Context } from '../context.ts'
import { line } from '../io.ts'
import { nameOf } from '../output.ts'
import { oneOf } from '../parse/number.ts'
import { isMiss, resolveImage, resolveOperation, resolveSnapshot, resolveTemplate, resolveVm } from '../resolve.ts'

const kinds = ['vm', 'template', 'snapshot', 'image', 'operation'] as const
type Kind = (typeof kinds)[number]

export default defineCommand({
  description:
    'Shows all that is known of a vm, a template, a snapshot, an image or an operation, as JSON; of a vm also the layers of its memory and of each disk, from its own delta down to the base, with their owners and who else stands on them. They are looked for in this order; --type names the kind where several have one name.',
  examples: [
    { line: 'ramet inspect web', does: 'Everything about web.' },
    { line: 'ramet inspect --type template web', does: 'About the template of that name.' },
  ],
  arguments: { thing: required('name or id', 'any') },
  options: { type: parsed('--type <kind>', 'vm, template, snapshot, image or operation', oneOf(...kinds), kinds) },
  run: async ({ args, options }, context) => {
    const ramet = await context.ramet()
    const thing = await find(ramet, args.thing, options.type, context)
    await line(context.io, context.format === 'name' ? nameOf(thing) : JSON.stringify(thing, null, 2))
    return undefined
  },
})

async function find(ramet: Ramet, text: string, type: Kind | undefined, context: Context): Promise<object> {
  const { signal } = context
  const finders: Record<Kind, (how: 'exact' | 'near') => Promise<object>> = {
    vm: async (how) => {
      const vm = how === 'exact' ? await ramet.vms.get(text, { signal }) : await resolveVm(ramet, text, signal)
      return { ...vm.info, layers: await vm.layers({ signal }) }
    },
    template: async (how) =>
      (how === 'exact' ? await ramet.templates.get(text, { signal }) : await resolveTemplate(ramet, text, signal)).info,
    snapshot: async (how) =>
      (how === 'exact' ? await ramet.snapshots.get(text, { signal }) : await resolveSnapshot(ramet, text, signal)).info,
    image: (how) => (how === 'exact' ? ramet.images.get(text, { signal }) : resolveImage(ramet, text, signal)),
    operation: (how) =>
      how === 'exact' ? ramet.operations.get(text, { signal }) : resolveOperation(ramet, text, signal),
  }
  if (type !== undefined) return await finders[type]('near')
  // A whole name of any kind is meant before the beginning of one.
  for (const how of ['exact', 'near'] as const) {
    for (const kind of kinds) {
      try {
        return await finders[kind](how)
      } catch (error) {
        const missing = isMiss(error) || (error instanceof RametError && error.kind.httpStatus === 404)
        if (!missing) throw error
      }
    }
  }
  throw new RametError('NOT_FOUND', {
    message: `there is no vm, template, snapshot, image or operation “${text}”`,
    remediation:
      'See `ramet ls --all`, `ramet template ls`, `ramet snapshot ls`, `ramet image ls` and `ramet operation ls`.',
  })
}
