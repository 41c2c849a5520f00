import { defineCommand, required } from '../command.ts'
import { line } from '../io.ts'
import { resolveTemplate } from '../resolve.ts'

export default defineCommand({
  description: 'Shows all that is known of a template, as JSON.',
  examples: [{ line: 'ramet template inspect warm-web', does: 'Everything about it.' }],
  arguments: { template: required('template, by name or id', 'template') },
  options: {},
  run: async ({ args }, context) => {
    const template = await resolveTemplate(await context.ramet(), args.template, context.signal)
    await line(context.io, context.format === 'name' ? template.name : JSON.stringify(template.info, null, 2))
    return undefined
  },
})
