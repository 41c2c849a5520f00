import { defineCommand, optional } from '../command.ts'
import { line, note } from '../io.ts'
import { resolveSource } from '../resolve.ts'
import { treeLines } from '../tree-lines.ts'

export default defineCommand({
  description:
    'Draws what came from what: images, the vms booted from them, templates, and children over any number of generations. With a name, only its ancestors and descendants.',
  examples: [
    { line: 'ramet tree', does: 'Everything.' },
    { line: 'ramet tree warm-web', does: 'The family of one.' },
  ],
  arguments: { of: optional('template or vm, by name or id', 'source') },
  options: {},
  run: async ({ args }, context) => {
    const ramet = await context.ramet()
    const of = args.of === undefined ? undefined : (await resolveSource(ramet, args.of, context.signal)).id
    const tree = await ramet.tree({ signal: context.signal, ...(of === undefined ? {} : { of }) })
    if (context.format === 'json') await line(context.io, JSON.stringify(tree, null, 2))
    else if (context.format === 'name') await line(context.io, tree.nodes.map((node) => node.name).join('\n'))
    else if (tree.nodes.length === 0)
      await note(context.io, 'there is nothing yet; begin with: ramet image build micro')
    else await line(context.io, treeLines(tree.nodes).join('\n'))
    return undefined
  },
})
