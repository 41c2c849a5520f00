import { Ramet } from '../../client/index.ts'
import { defaultDataDirectory } from '../../client/settings.ts'
import type { CompletedKind } from '../command.ts'
import { type Io, line } from '../io.ts'
import { candidates } from './complete.ts'
import { completionModel } from './model.ts'

/** A person waits for the answer with a finger on the Tab key. */
const patienceMs = 1_000

/** `ramet __complete WORD...`: prints what can stand in place of the last word, one a line, or `:files`. */
export async function answerCompletion(words: readonly string[], io: Io): Promise<void> {
  const current = words.at(-1) ?? ''
  const found = candidates(words, await completionModel())
  if (found.files) return await line(io, ':files')
  const names = found.names === undefined ? [] : await namesFor(found.names, io).catch(() => [])
  const fitting = [...new Set([...found.words, ...names])].filter((word) => word.startsWith(current))
  if (fitting.length > 0) await line(io, fitting.join('\n'))
}

/** Asks a daemon that runs; none is started for this. */
async function namesFor(kind: CompletedKind, io: Io): Promise<string[]> {
  const url = io.env.RAMET_API_URL
  const where = url ? { url, token: io.env.RAMET_API_KEY } : { dataDirectory: defaultDataDirectory(io.env) }
  const ramet = new Ramet({ ...where, signal: AbortSignal.timeout(patienceMs) })
  const vms = async () => (await ramet.vms.list()).map((vm) => vm.name)
  const templates = async () => (await ramet.templates.list()).map((template) => template.name)
  const snapshots = async () => (await ramet.snapshots.list()).map((snapshot) => snapshot.name)
  const images = async () =>
    (await ramet.images.list()).map((image) => (image.tag === 'latest' ? image.name : `${image.name}:${image.tag}`))
  const operations = async () => (await ramet.operations.list()).map((operation) => operation.id)
  switch (kind) {
    case 'vm':
      return await vms()
    case 'template':
      return await templates()
    case 'snapshot':
      return await snapshots()
    case 'image':
      return await images()
    case 'operation':
      return await operations()
    case 'source':
      return [...(await templates()), ...(await vms())]
    case 'any':
      return [...(await vms()), ...(await templates()), ...(await snapshots()), ...(await images())]
  }
}
