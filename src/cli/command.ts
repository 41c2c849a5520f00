/**
 * A command is data: what it takes, how it is explained, and one function. The table of commands
 * (`table.ts`) builds the parser, the help and the completion from it.
 */
import type { Context } from './context.ts'

/** What can be offered when somebody presses Tab. */
export type CompletedKind = 'vm' | 'template' | 'snapshot' | 'image' | 'operation' | 'source' | 'any'
export type Completes = CompletedKind | 'file' | readonly string[]

export interface ArgumentSpec<T> {
  readonly description: string
  readonly form: 'required' | 'optional' | 'rest' | 'rest-required'
  readonly completes?: Completes | undefined
  /** carries the type only */
  readonly value?: T
}

export interface OptionSpec<T> {
  /** as commander writes them: `-n, --count <number>` */
  readonly flags: string
  readonly description: string
  readonly form: 'flag' | 'value' | 'list'
  readonly parse?: ((text: string) => unknown) | undefined
  readonly completes?: Completes | undefined
  /** understood, but not shown in the help */
  readonly hidden?: true | undefined
  readonly value?: T
}

export interface Example {
  readonly line: string
  readonly does: string
}

type Specs = Record<string, { readonly value?: unknown }>
export type Values<S extends Specs> = { [K in keyof S]: S[K] extends { readonly value?: infer T } ? T : never }

interface Definition<A extends Record<string, ArgumentSpec<unknown>>, O extends Record<string, OptionSpec<unknown>>> {
  /** a paragraph: what it does, and what a newcomer would not guess */
  readonly description: string
  readonly examples: readonly [Example, ...Example[]]
  /** in order */
  readonly arguments: A
  readonly options: O
  /** the words of the last argument are the command of somebody else: its options are not ours */
  readonly passThrough?: true
  /** `--timeout` has a meaning of its own here, else it bounds the whole command */
  readonly ownTimeout?: true
  run(input: Input<A, O>, context: Context): Promise<number | undefined>
}

export interface Input<A extends Specs, O extends Specs> {
  readonly args: Values<A>
  readonly options: Values<O>
}

/** A command whose types have been forgotten, as the table holds it. */
export interface Command {
  readonly description: string
  readonly examples: readonly Example[]
  readonly arguments: Record<string, ArgumentSpec<unknown>>
  readonly options: Record<string, OptionSpec<unknown>>
  readonly passThrough?: true
  readonly ownTimeout?: true
  run(input: { args: Record<string, unknown>; options: Record<string, unknown> }, context: Context): Promise<unknown>
}

export function defineCommand<
  A extends Record<string, ArgumentSpec<unknown>>,
  O extends Record<string, OptionSpec<unknown>>,
>(definition: Definition<A, O>): Command {
  return definition as unknown as Command
}

export const required = (description: string, completes?: Completes): ArgumentSpec<string> => ({
  description,
  form: 'required',
  completes,
})

export const optional = (description: string, completes?: Completes): ArgumentSpec<string | undefined> => ({
  description,
  form: 'optional',
  completes,
})

export const rest = (description: string, completes?: Completes): ArgumentSpec<string[]> => ({
  description,
  form: 'rest',
  completes,
})

export const restRequired = (description: string, completes?: Completes): ArgumentSpec<string[]> => ({
  description,
  form: 'rest-required',
  completes,
})

/** A switch: false unless given. */
export const flag = (flags: string, description: string): OptionSpec<boolean> => ({ flags, description, form: 'flag' })

/** An option with a value; undefined unless given. */
export function value(flags: string, description: string, completes?: Completes): OptionSpec<string | undefined> {
  return { flags, description, form: 'value', completes }
}

/** The same, parsed. */
export function parsed<T>(
  flags: string,
  description: string,
  parse: (text: string) => T,
  completes?: Completes,
): OptionSpec<T | undefined> {
  return { flags, description, form: 'value', parse, completes }
}

/** An option that may be repeated; empty unless given. */
export function list<T>(flags: string, description: string, parse: (text: string) => T): OptionSpec<T[]> {
  return { flags, description, form: 'list', parse }
}

/** An option that is understood so that a good answer can be given. */
export const hidden = <T>(spec: OptionSpec<T>): OptionSpec<T> => ({ ...spec, hidden: true })
