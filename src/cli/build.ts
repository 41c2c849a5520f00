import { Command as Commander, CommanderError, Option } from 'commander'
import type { ArgumentSpec, Command, OptionSpec } from './command.ts'
import type { GlobalValues } from './context.ts'
import { namesOf } from './flags.ts'
import { globalOptions } from './options/global.ts'
import { markPassThrough } from './pass-through.ts'
import { UsageError } from './show-error.ts'

export type Parsed =
  | { help: string }
  | { args: Record<string, unknown>; options: Record<string, unknown>; globals: GlobalValues }

/** Makes commander's command out of ours. */
export function buildCommander(name: string, summary: string, command: Command): Commander {
  const program = new Commander(`ramet ${name}`)
    .description(`${summary}.\n\n${command.description}`)
    .exitOverride()
    .configureOutput({ writeOut: () => {}, writeErr: () => {} })
    .allowExcessArguments(false)
    .showSuggestionAfterError(true)
  for (const [key, spec] of Object.entries(command.arguments))
    program.argument(argumentText(key, spec), spec.description)
  for (const spec of Object.values(command.options)) program.addOption(buildOption(spec))
  program.optionsGroup('Options of every command:')
  for (const spec of Object.values(globalsFor(command))) program.addOption(buildOption(spec))
  program.helpOption('-h, --help', 'show this')
  const examples = command.examples.map(({ line, does }) => `  $ ${line}\n      ${does}`).join('\n')
  return program.addHelpText('after', `\nExamples:\n${examples}`)
}

/** A command may have taken an option's place for a meaning of its own. */
function globalsFor(command: Command): Record<string, OptionSpec<unknown>> {
  const taken = new Set(Object.values(command.options).flatMap((spec) => namesOf(spec.flags)))
  return Object.fromEntries(
    Object.entries(globalOptions as Record<string, OptionSpec<unknown>>).filter(
      ([, spec]) => !namesOf(spec.flags).some((name) => taken.has(name)),
    ),
  )
}

function argumentText(key: string, spec: ArgumentSpec<unknown>): string {
  const name = key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
  if (spec.form === 'required') return `<${name}>`
  if (spec.form === 'optional') return `[${name}]`
  return spec.form === 'rest' ? `[${name}...]` : `<${name}...>`
}

function buildOption(spec: OptionSpec<unknown>): Option {
  const option = new Option(spec.flags, spec.description)
  const parse = spec.parse ?? ((text: string) => text)
  if (spec.form === 'list')
    option.argParser((text: string, previous: unknown) => [...(Array.isArray(previous) ? previous : []), parse(text)])
  else if (spec.form === 'value') option.argParser(parse)
  if (spec.hidden) option.hideHelp()
  return option
}

/** @throws UsageError, and what the parsers of the options throw */
export function parseCommand(name: string, summary: string, command: Command, argv: readonly string[]): Parsed {
  const program = buildCommander(name, summary, command)
  let help = ''
  program.configureOutput({ writeOut: (text) => (help += text) })
  try {
    const specs = [...Object.values(command.options), ...Object.values(globalsFor(command))]
    const words = command.passThrough ? markPassThrough(argv, command, specs) : [...argv]
    program.parse(words, { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    if (error.code === 'commander.helpDisplayed') return { help: help.trimEnd() }
    const [what, suggestion] = error.message.replace(/^error: /, '').split('\n')
    throw new UsageError(
      what ?? 'that makes no sense',
      `${suggestion === undefined ? '' : `${suggestion.replace(/^\(|\)$/g, '')} `}See \`ramet ${name} --help\`.`,
    )
  }
  const given: Record<string, unknown> = program.opts()
  const values = (specs: Record<string, OptionSpec<unknown>>) =>
    Object.fromEntries(
      Object.entries(specs).map(([key, spec]) => {
        const found = given[new Option(spec.flags).attributeName()]
        const absent = spec.form === 'list' ? [] : spec.form === 'flag' ? false : undefined
        return [key, found ?? absent]
      }),
    )
  const args = Object.fromEntries(
    Object.keys(command.arguments).map((key, index) => [key, program.processedArgs[index]]),
  )
  return {
    args,
    options: values(command.options),
    globals: values(globalsFor(command)) as unknown as GlobalValues,
  }
}
