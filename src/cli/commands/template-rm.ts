import type { Template } from '../../client/index.ts'
import { defineCommand, restRequired } from '../command.ts'
import { eachOf } from '../each-vm.ts'
import { resolveTemplate } from '../resolve.ts'

export default defineCommand({
  description:
    'Removes templates, their memory and their disks. One that has children is refused, and the children are named: they read from its base.',
  examples: [{ line: 'ramet template rm warm-web', does: 'Removes it.' }],
  arguments: { template: restRequired('templates, by name or id', 'template') },
  options: {},
  run: async ({ args }, context) => {
    const ramet = await context.ramet()
    const templates: Template[] = []
    for (const text of args.template) templates.push(await resolveTemplate(ramet, text, context.signal))
    return await eachOf(context, templates, 'removing', (template, action) => template.remove(action))
  },
})
