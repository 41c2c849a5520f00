import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/**
 * A program of Ramet that runs in a process of its own: the command line may not import it (it would
 * bring the whole engine along), only start it. In a checkout it is TypeScript, published JavaScript.
 */
export function programPath(relative: string): string {
  const source = fileURLToPath(new URL(relative, import.meta.url))
  return existsSync(source) ? source : source.replace(/\.ts$/, '.js')
}

export const daemonProgram = (): string => programPath('../server/main.ts')
export const benchProgram = (): string => programPath('../../bench/main.ts')
