import type { Image } from '../../client/index.ts'
import { formatBytes } from '../../shared/limits.ts'
import { defineCommand } from '../command.ts'
import { formatAge } from '../format.ts'
import { type Column, showList } from '../output.ts'

const columns: readonly Column<Image>[] = [
  { heading: 'NAME', of: (image) => `${image.name}:${image.tag}` },
  { heading: 'STATE', of: (image) => image.state },
  { heading: 'KIND', of: (image) => image.kind },
  { heading: 'DISK', of: (image) => (image.diskBytes === 0 ? '-' : formatBytes(image.diskBytes)) },
  { heading: 'STORED', of: (image) => formatBytes(image.storedBytes) },
  { heading: 'MEMORY', of: (image) => formatBytes(image.defaultMemoryBytes) },
  { heading: 'KERNEL', of: (image) => image.kernel },
  { heading: 'USED BY', of: (image) => String(image.vmCount) },
  { heading: 'AGE', of: (image) => formatAge(image.createdAt) },
]

export default defineCommand({
  description:
    'Lists images. MEMORY is what a vm gets that does not say; USED BY counts the vms and templates that depend on it.',
  examples: [{ line: 'ramet image ls', does: 'All images.' }],
  arguments: {},
  options: {},
  run: async (_input, context) => {
    const ramet = await context.ramet()
    const images = await ramet.images.list({ signal: context.signal })
    await showList(context, images, columns, 'there are no images; build one with: ramet image build micro')
    return undefined
  },
})
