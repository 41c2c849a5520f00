import { ForkError, type Vm } from '../client/index.ts'
import type { Context } from './context.ts'
import { formatDuration } from './format.ts'
import { line } from './io.ts'
import { type Column, showList } from './output.ts'
import { describeError, showError } from './show-error.ts'

const columns: readonly Column<Vm>[] = [
  { heading: 'NAME', of: (vm) => vm.name },
  { heading: 'STATE', of: (vm) => vm.state },
  { heading: 'GEN', of: (vm) => String(vm.info.generation) },
  { heading: 'RUNNING', of: (vm) => duration(vm.info.timings?.runningMs) },
  { heading: 'READY', of: (vm) => duration(vm.info.timings?.readyMs) },
]
const duration = (ms: number | undefined) => (ms === undefined ? '-' : formatDuration(ms))

/** Shows what was made and what was not. @returns exit code: that of the first failure */
export async function showChildren(context: Context, results: (Vm | ForkError)[], none: string): Promise<number> {
  const children = results.filter((child): child is Vm => !(child instanceof ForkError))
  const failures = results.filter((child): child is ForkError => child instanceof ForkError)
  if (context.format === 'json') {
    const wire = results.map((child) =>
      child instanceof ForkError
        ? { ok: false, name: child.childName, error: child.problem }
        : { ok: true, vm: child.info },
    )
    await line(context.io, JSON.stringify(wire, null, 2))
  } else {
    await showList(context, children, columns, none)
    for (const failure of failures) {
      const shown = describeError(failure)
      await showError(context.io, { ...shown, what: `${failure.childName} was not made: ${shown.what}` }, 'table')
    }
  }
  const [first] = failures
  return first === undefined ? 0 : describeError(first).exitCode
}
