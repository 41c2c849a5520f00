import { setTimeout as delay } from 'node:timers/promises'
import type { Ramet, Tree } from '../../client/index.ts'
import { defineCommand, flag, optional, parsed } from '../command.ts'
import type { Context } from '../context.ts'
import { line, note } from '../io.ts'
import { parseDurationMs } from '../parse/duration.ts'
import { resolveSource } from '../resolve.ts'
import { treeLines } from '../tree-lines.ts'

export default defineCommand({
  description:
    'Draws what came from what: images, the vms booted from them, templates, and children over any number of generations. With a name, only its ancestors and descendants. Of each vm: its generation, which rises with every fork; the depth of its disks in files, its own delta included; and what it has of its own and shares with others, in memory and on disk, at this moment. With --watch it looks again and again; as JSON then a tree a line.',
  examples: [
    { line: 'ramet tree', does: 'Everything.' },
    { line: 'ramet tree warm-web', does: 'The family of one.' },
    { line: 'ramet tree --watch', does: 'Everything, every second, until Ctrl-C.' },
  ],
  arguments: { of: optional('template or vm, by name or id', 'source') },
  options: {
    watch: flag('-w, --watch', 'look again and again'),
    interval: parsed('--interval <duration>', 'how often, with --watch; 1s when left out', parseDurationMs),
  },
  run: async ({ args, options }, context) => {
    const ramet = await context.ramet()
    const of = args.of === undefined ? undefined : (await resolveSource(ramet, args.of, context.signal)).id
    if (!options.watch) {
      await show(context, await look(ramet, of, context), 2)
      return undefined
    }
    const onTerminal = context.io.stdout.isTTY === true && context.format === 'table'
    for (;;) {
      const tree = await look(ramet, of, context)
      if (onTerminal) context.io.stdout.write('\u001b[H\u001b[2J')
      await show(context, tree, 0)
      await delay(options.interval ?? 1000, undefined, { signal: context.signal })
    }
  },
})

function look(ramet: Ramet, of: string | undefined, { signal }: Context): Promise<Tree> {
  return ramet.tree({ signal, ...(of === undefined ? {} : { of }) })
}

async function show(context: Context, tree: Tree, jsonIndent: number): Promise<void> {
  const { io, format } = context
  if (format === 'json') await line(io, JSON.stringify(tree, null, jsonIndent))
  else if (format === 'name') await line(io, tree.nodes.map((node) => node.name).join('\n'))
  else if (tree.nodes.length === 0) await note(io, 'there is nothing yet; begin with: ramet image build micro')
  else await line(io, treeLines(tree.nodes).join('\n'))
}
