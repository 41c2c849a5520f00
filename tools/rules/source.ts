import { globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const repositoryRoot = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

export interface SourceFile {
  /** relative to the repository, with forward slashes */
  path: string
  text: string
  lines: string[]
}

/** All sources that match the globs, read once. */
export function readSources(...globs: string[]): SourceFile[] {
  const paths = globs.flatMap((glob) => globSync(glob, { cwd: repositoryRoot }))
  return [...new Set(paths)].sort().map((path) => {
    const text = readFileSync(join(repositoryRoot, path), 'utf8')
    return { path, text, lines: text.split('\n') }
  })
}

/** Module specifiers a TypeScript file imports, in order; types included, since a type is knowledge too. */
export function importsOf(file: SourceFile): string[] {
  const pattern =
    /(?:^|\n)\s*(?:import|export)\b[^'"`;]*?\bfrom\s*['"]([^'"]+)['"]|import\(\s*['"]([^'"]+)['"]\s*\)|(?:^|\n)\s*import\s*['"]([^'"]+)['"]/g
  return [...file.text.matchAll(pattern)].map((match) => match[1] ?? match[2] ?? match[3] ?? '')
}
