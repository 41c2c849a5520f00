import type { ArgumentSpec, Command, Completes, OptionSpec } from '../command.ts'
import { namesOf } from '../flags.ts'
import { globalOptions } from '../options/global.ts'
import { entries, type TableEntry } from '../table.ts'

export interface CompletedOption {
  names: string[]
  takesValue: boolean
  description: string
  completes?: Completes | undefined
}

/** A command as a completion script needs to know it. */
export interface CompletedCommand {
  /** `fork`, or `template create` */
  path: string
  summary: string
  options: CompletedOption[]
  arguments: { completes?: Completes | undefined; repeats: boolean }[]
  /** the words after the first belong to somebody else */
  passThrough: boolean
}

/** All commands, read from the table: what the help knows, the completion knows. */
export async function completionModel(): Promise<CompletedCommand[]> {
  const commands: CompletedCommand[] = []
  for (const entry of entries) {
    if ('verbs' in entry)
      for (const verb of entry.verbs) commands.push(await describe(`${entry.name} ${verb.name}`, verb))
    else for (const name of [entry.name, ...(entry.aliases ?? [])]) commands.push(await describe(name, entry))
  }
  return commands
}

async function describe(path: string, entry: TableEntry): Promise<CompletedCommand> {
  const command: Command = (await entry.load()).default
  const options: OptionSpec<unknown>[] = [...Object.values(command.options), ...Object.values(globalOptions)]
  const help: CompletedOption = { names: ['--help'], takesValue: false, description: 'show its help' }
  return {
    path,
    summary: entry.summary,
    options: [...options.filter((option) => !option.hidden).map(describeOption), help],
    arguments: Object.values(command.arguments).map((argument: ArgumentSpec<unknown>) => ({
      completes: argument.completes,
      repeats: argument.form.startsWith('rest'),
    })),
    passThrough: command.passThrough === true,
  }
}

function describeOption(option: OptionSpec<unknown>): CompletedOption {
  return {
    names: namesOf(option.flags),
    takesValue: option.form !== 'flag',
    description: option.description,
    completes: option.completes,
  }
}
