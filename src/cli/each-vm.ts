import type { ActionOptions, Vm } from '../client/index.ts'
import type { Context } from './context.ts'
import { line } from './io.ts'
import { resolveVms } from './resolve.ts'
import { describeError, showError } from './show-error.ts'

/**
 * Does one thing to several vms, one after the other. A failure does not keep the others from their turn;
 * the exit code is that of the first.
 */
export async function eachVm(
  context: Context,
  names: readonly string[],
  doing: string,
  action: (vm: Vm, options: ActionOptions) => Promise<void>,
): Promise<number> {
  const ramet = await context.ramet()
  const vms = await resolveVms(ramet, names, context.signal)
  return await eachOf(context, vms, doing, action)
}

/** The same for things that have been found already. */
export async function eachOf<T extends { name: string; info: object }>(
  context: Context,
  things: readonly T[],
  doing: string,
  action: (thing: T, options: ActionOptions) => Promise<void>,
): Promise<number> {
  const done: T[] = []
  let exitCode = 0
  for (const thing of things) {
    try {
      await action(thing, context.action(`${doing} ${thing.name}`))
      context.progress.clear()
      done.push(thing)
      if (context.format !== 'json') await line(context.io, thing.name)
    } catch (error) {
      context.signal.throwIfAborted()
      context.progress.clear()
      const shown = describeError(error)
      await showError(context.io, shown, context.format)
      exitCode ||= shown.exitCode
    }
  }
  if (context.format === 'json')
    await line(
      context.io,
      JSON.stringify(
        done.map((thing) => thing.info),
        null,
        2,
      ),
    )
  return exitCode
}
