import { RametError } from '../../src/shared/errors.ts'
import type { BuildContext } from './context.ts'
import { buildDebian } from './debian.ts'
import type { ImageManifest } from './manifest.ts'
import { buildMicro } from './micro.ts'

export const recipes = ['micro', 'debian'] as const
export type Recipe = (typeof recipes)[number]

/**
 * Builds an image, or answers with the one that is there: its id follows from the recipe, the kernel, the guest
 * agent's sources and this builder. Several builds of the same image, also in several processes, become one.
 *
 * @throws RametError `HOST_UNFIT` naming the command that installs what is missing, `IMAGE_BUILD_FAILED` with the
 *   last lines of the program that failed and the path of the log, `NO_SPACE`, `CANCELLED`
 */
export async function buildImage(recipe: Recipe, context: BuildContext): Promise<ImageManifest> {
  switch (recipe) {
    case 'micro':
      return buildMicro(context)
    case 'debian':
      return buildDebian(context)
    default:
      throw new RametError('INVALID_ARGUMENT', {
        message: `there is no recipe “${String(recipe).slice(0, 40)}”; there are ${recipes.join(' and ')}`,
      })
  }
}
