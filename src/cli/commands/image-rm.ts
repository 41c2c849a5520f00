import { defineCommand, restRequired } from '../command.ts'
import { eachOf } from '../each-vm.ts'
import { resolveImage } from '../resolve.ts'

export default defineCommand({
  description: 'Removes images. One that vms or templates depend on is refused, and they are named.',
  examples: [{ line: 'ramet image rm micro', does: 'Removes it.' }],
  arguments: { image: restRequired('images, by name or id', 'image') },
  options: {},
  run: async ({ args }, context) => {
    const ramet = await context.ramet()
    const things: { id: string; name: string; info: object }[] = []
    for (const text of args.image) {
      const image = await resolveImage(ramet, text, context.signal)
      things.push({ id: image.id, name: `${image.name}:${image.tag}`, info: image })
    }
    return await eachOf(context, things, 'removing', (thing, action) => ramet.images.remove(thing.id, action))
  },
})
