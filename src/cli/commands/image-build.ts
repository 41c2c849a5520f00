import { defineCommand, flag, required, value } from '../command.ts'
import { showOne } from '../output.ts'
import { oneOf } from '../parse/number.ts'

const recipes = ['micro', 'debian'] as const

export default defineCommand({
  description:
    'Builds an image by its recipe: micro is a kernel with busybox and no disk, and boots in about two seconds without KVM; debian is bookworm with python3. One that has been built is not built again. Packages come from the sources of the package manager, so this needs the network once.',
  examples: [
    { line: 'ramet image build micro', does: 'Builds the small one.' },
    { line: 'ramet image build debian --name base', does: 'Builds Debian and calls it base.' },
  ],
  arguments: { recipe: required('micro or debian', recipes) },
  options: {
    name: value('-n, --name <name>', 'name of the image; that of the recipe when left out'),
    rebuild: flag('--rebuild', 'build again even if this recipe has been built'),
  },
  run: async ({ args, options }, context) => {
    const ramet = await context.ramet()
    const image = await ramet.images.build({
      recipe: oneOf(...recipes)(args.recipe),
      rebuild: options.rebuild,
      ...(options.name === undefined ? {} : { name: options.name }),
      ...context.action(`building ${args.recipe}`),
    })
    context.progress.clear()
    await showOne(context, image, `${image.name}:${image.tag}`)
    return undefined
  },
})
