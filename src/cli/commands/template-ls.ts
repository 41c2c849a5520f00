import type { TemplateInfo } from '../../client/index.ts'
import { formatBytes } from '../../shared/limits.ts'
import { defineCommand } from '../command.ts'
import { formatAge } from '../format.ts'
import { type Column, showList } from '../output.ts'

const columns: readonly Column<TemplateInfo>[] = [
  { heading: 'NAME', of: (template) => template.name },
  { heading: 'STATE', of: (template) => template.state },
  { heading: 'FROM', of: (template) => template.source.name },
  { heading: 'CHILDREN', of: (template) => String(template.childCount) },
  { heading: 'ARMED', of: (template) => `${template.armedCount}/${template.armed}` },
  { heading: 'CPUS', of: (template) => String(template.cpus) },
  { heading: 'MEMORY', of: (template) => formatBytes(template.memoryBytes) },
  { heading: 'STORED', of: (template) => formatBytes(template.storedBytes) },
  { heading: 'AGE', of: (template) => formatAge(template.createdAt) },
]

export default defineCommand({
  description:
    'Lists templates. One that is ready has its memory loaded and forks at once; one that is stored loads it at first use. ARMED is how many QEMU processes stand ready, of those asked for.',
  examples: [{ line: 'ramet template ls', does: 'All templates.' }],
  arguments: {},
  options: {},
  run: async (_input, context) => {
    const ramet = await context.ramet()
    const templates = await ramet.templates.list({ signal: context.signal })
    const rows = templates.map((template) => template.info)
    await showList(
      context,
      rows,
      columns,
      'there are no templates; make one with: ramet template create NAME --from VM',
    )
    return undefined
  },
})
