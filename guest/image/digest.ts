import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { join, relative } from 'node:path'
import type { ImageFiles } from './manifest.ts'

/** SHA-256 of a value's canonical JSON: the order in which keys were written does not matter. */
export function digestOfValue(value: unknown): string {
  return createHash('sha256').update(canonicalJson(value)).digest('hex')
}

function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null'
  const entries = Object.entries(value).filter(([, field]) => field !== undefined)
  entries.sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${entries.map(([key, field]) => `${JSON.stringify(key)}:${canonicalJson(field)}`).join(',')}}`
}

export async function digestOfFile(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256')
  const options = signal === undefined ? {} : { signal }
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024, ...options })) hash.update(chunk)
  return hash.digest('hex')
}

/**
 * Names and contents of the files below a directory, whatever their times or order on disk.
 *
 * @param include told a file's path relative to the directory
 */
export async function digestOfTree(dir: string, include: (path: string) => boolean): Promise<string> {
  const hash = createHash('sha256')
  const entries = await readdir(dir, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile())
  const paths = files.map((entry) => relative(dir, join(entry.parentPath, entry.name)))
  for (const path of paths.filter(include).sort()) {
    hash.update(`${path}\0${await digestOfFile(join(dir, path))}\n`)
  }
  return hash.digest('hex')
}

/** Sizes and hashes of an image's artefacts. */
export async function describeFiles(dir: string, names: readonly string[], signal?: AbortSignal): Promise<ImageFiles> {
  const files: ImageFiles = {}
  for (const name of [...names].sort()) {
    const path = join(dir, name)
    files[name] = { bytes: (await stat(path)).size, sha256: await digestOfFile(path, signal) }
  }
  return files
}

/** The one digest that stands for all artefacts. */
export function digestOfFiles(files: ImageFiles): string {
  return digestOfValue(files)
}
