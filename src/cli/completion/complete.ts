import type { CompletedKind, Completes } from '../command.ts'
import { entries } from '../table.ts'
import type { CompletedCommand, CompletedOption } from './model.ts'

/** What can stand where the cursor is. */
export interface Candidates {
  words: string[]
  /** names of these things, which the daemon knows */
  names?: CompletedKind | undefined
  /** files, which the shell knows */
  files: boolean
}

const nothing: Candidates = { words: [], files: false }

/** What can be offered for the last of the words (which may be empty). `ramet` itself is not among them. */
export function candidates(words: readonly string[], commands: readonly CompletedCommand[]): Candidates {
  const current = words.at(-1) ?? ''
  const before = words.slice(0, -1)
  const [first, second] = before.filter((word) => !word.startsWith('-'))
  if (first === undefined) return { words: entries.map((entry) => entry.name), files: false }
  const group = entries.find((entry) => 'verbs' in entry && (entry.name === first || entry.aliases?.includes(first)))
  if (group !== undefined && 'verbs' in group && second === undefined)
    return { words: group.verbs.map((verb) => verb.name), files: false }
  const path = group === undefined ? first : `${group.name} ${second}`
  const command = commands.find((candidate) => candidate.path === path)
  if (command === undefined) return nothing
  return within(command, before.slice(before.indexOf((group === undefined ? first : second) ?? '') + 1), current)
}

function within(command: CompletedCommand, before: readonly string[], current: string): Candidates {
  const optionOf = (word: string): CompletedOption | undefined =>
    command.options.find((option) => option.names.includes(word))
  const pending = optionOf(before.at(-1) ?? '')
  if (pending?.takesValue) return offer(pending.completes)
  let position = 0
  before.forEach((word, index) => {
    const isValue = optionOf(before[index - 1] ?? '')?.takesValue === true
    if (!word.startsWith('-') && !isValue) position += 1
  })
  if (command.passThrough && position > 0 && position >= command.arguments.length - 1) return { words: [], files: true }
  if (current.startsWith('-')) return { words: command.options.flatMap((option) => option.names), files: false }
  const argument = command.arguments[position] ?? command.arguments.findLast((one) => one.repeats)
  return offer(argument?.completes)
}

function offer(completes: Completes | undefined): Candidates {
  if (completes === undefined) return nothing
  if (completes === 'file') return { words: [], files: true }
  return typeof completes === 'string'
    ? { words: [], names: completes, files: false }
    : { words: [...completes], files: false }
}
