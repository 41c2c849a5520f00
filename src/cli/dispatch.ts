import { exitCodes } from '../shared/errors.ts'
import type { Command } from './command.ts'
import { type ContextOptions, makeContext } from './context.ts'
import { groupHelp, topHelp, unknownCommandRemedy } from './help.ts'
import type { Interrupts } from './interrupts.ts'
import { type Io, line, note } from './io.ts'
import { describeError, showError, UsageError } from './show-error.ts'
import { entries, findEntry, type TableEntry, type TableGroup } from './table.ts'

export interface Shell {
  io: Io
  /** where Ctrl-C comes from */
  interrupts: Interrupts
  connect: ContextOptions['connect']
}

/** Runs one command line and answers its exit code. Never throws. */
export async function dispatch(argv: readonly string[], shell: Shell): Promise<number> {
  const { io } = shell
  try {
    if (argv[0] === '__complete') {
      await (await import('./completion/answer.ts')).answerCompletion(argv.slice(1), io)
      return exitCodes.ok
    }
    const found = findVerb(argv)
    if (typeof found === 'string') {
      await line(io, found)
      return exitCodes.ok
    }
    return await runVerb(found, shell)
  } catch (error) {
    const shown = describeError(error)
    if (io.env.RAMET_DEBUG && error instanceof Error) await note(io, error.stack ?? '')
    await showError(io, shown, wantedFormat(argv, io))
    return shown.exitCode
  }
}

interface Verb {
  /** `fork`, `template create` */
  name: string
  entry: TableEntry
  argv: readonly string[]
}

/** Which verb is meant; or the help, when that is what is asked for. @throws UsageError */
function findVerb(argv: readonly string[]): Verb | string {
  const at = firstWord(argv)
  const word = argv[at]
  const before = argv.slice(0, at === -1 ? argv.length : at)
  if (word === undefined || word === 'help') {
    if (before.includes('-V') || before.includes('--version')) return findVerb(['version'])
    const about = word === 'help' ? argv.slice(at + 1).find((one) => !one.startsWith('-')) : undefined
    return about === undefined ? topHelp() : findVerb([about, ...argv.slice(argv.indexOf(about) + 1), '--help'])
  }
  if (before.includes('-h') || before.includes('--help')) return topHelp()
  const entry: TableEntry | TableGroup | undefined = findEntry(entries, word)
  if (entry === undefined) {
    const names = entries.flatMap((one) => [one.name, ...(one.aliases ?? [])])
    throw new UsageError(`there is no command “${word}”`, unknownCommandRemedy(word, names, 'ramet --help'))
  }
  const after = argv.slice(at + 1)
  if (!('verbs' in entry)) return { name: entry.name, entry, argv: [...before, ...after] }
  return findGroupVerb(entry, before, after)
}

function findGroupVerb(group: TableGroup, before: readonly string[], after: readonly string[]): Verb | string {
  const at = firstWord(after)
  const word = after[at]
  if (word === undefined || after.slice(0, at).some((one) => one === '-h' || one === '--help')) return groupHelp(group)
  const entry = findEntry(group.verbs, word)
  if (entry === undefined) {
    const names = group.verbs.map((verb) => verb.name)
    const remedy = unknownCommandRemedy(word, names, `ramet ${group.name} --help`)
    throw new UsageError(`there is no command “${group.name} ${word}”`, remedy)
  }
  const argv = [...before, ...after.slice(0, at), ...after.slice(at + 1)]
  return { name: `${group.name} ${entry.name}`, entry, argv }
}

const withValue = ['-o', '--output', '--timeout', '--url', '--data-dir']

/** Where the first word is that is neither an option nor the value of one; -1 when there is none. */
function firstWord(argv: readonly string[]): number {
  return argv.findIndex((one, index) => !one.startsWith('-') && !withValue.includes(argv[index - 1] ?? ''))
}

async function runVerb(verb: Verb, shell: Shell): Promise<number> {
  const { io } = shell
  const command: Command = (await verb.entry.load()).default
  const { parseCommand } = await import('./build.ts')
  const parsed = parseCommand(verb.name, verb.entry.summary, command, verb.argv)
  if ('help' in parsed) {
    await line(io, parsed.help)
    return exitCodes.ok
  }
  const bounded = command.ownTimeout === true ? undefined : parsed.globals.timeout
  const signal = shell.interrupts.begin(bounded)
  const onInterrupt = shell.interrupts.take.bind(shell.interrupts)
  const context = makeContext({ io, globals: parsed.globals, signal, onInterrupt, connect: shell.connect })
  try {
    const code = await command.run({ args: parsed.args, options: parsed.options }, context)
    return typeof code === 'number' ? code : exitCodes.ok
  } catch (error) {
    context.progress.clear()
    const interrupted = shell.interrupts.received
    if (interrupted === undefined && !isClosedPipe(error)) {
      const shown = describeError(signal.aborted ? signal.reason : error)
      if (io.env.RAMET_DEBUG && error instanceof Error) await note(io, error.stack ?? '')
      await showError(io, shown, context.format)
      return shown.exitCode
    }
    if (interrupted === undefined) return exitCodes.ok
    const operation = context.progress.operation
    await note(
      io,
      operation === undefined ? 'interrupted' : `interrupted; the daemon cancels operation ${operation.id}`,
    )
    return interrupted === 'SIGINT' ? 130 : 143
  } finally {
    context.progress.clear()
    shell.interrupts.end()
  }
}

/** The reader of our output has seen enough, as `head` does. */
function isClosedPipe(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EPIPE'
}

/** The format wanted, from a command line that may make no sense otherwise. */
function wantedFormat(argv: readonly string[], io: Io): string {
  const at = argv.findIndex((one) => one === '-o' || one === '--output')
  if (at >= 0) return argv[at + 1] ?? 'table'
  return argv.some((one) => one === '-ojson' || one === '--output=json') ? 'json' : (io.env.RAMET_OUTPUT ?? 'table')
}
