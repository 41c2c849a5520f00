import type { Command, OptionSpec } from './command.ts'
import { namesOf } from './flags.ts'

/**
 * Marks with `--` where the words of another command begin, so that its options are not taken for ours:
 * `run micro --name web ls -l` becomes `run micro --name web -- ls -l`.
 */
export function markPassThrough(
  argv: readonly string[],
  command: Command,
  options: readonly OptionSpec<unknown>[],
): string[] {
  const fixed = Object.values(command.arguments).filter((argument) => !argument.form.startsWith('rest')).length
  const takesValue = new Set(
    options.filter((option) => option.form !== 'flag').flatMap((option) => namesOf(option.flags)),
  )
  let words = 0
  for (let index = 0; index < argv.length; index += 1) {
    const word = argv[index] ?? ''
    if (word === '--') return [...argv]
    if (word.startsWith('-') && word !== '-') {
      if (valueFollows(word, takesValue)) index += 1
      continue
    }
    if (words === fixed) return [...argv.slice(0, index), '--', ...argv.slice(index)]
    words += 1
  }
  return [...argv]
}

/** Whether the value of an option is the next word: not in `--a=b`, `-m512M`, nor for switches, also joined as `-it`. */
function valueFollows(word: string, takesValue: ReadonlySet<string>): boolean {
  if (word.startsWith('--')) return takesValue.has(word)
  const letters = [...word.slice(1)]
  const first = letters.findIndex((letter) => takesValue.has(`-${letter}`))
  return first >= 0 && first === letters.length - 1
}
