/** Measurements of what docs/spec.md promises: `ramet bench fork`, `ramet bench fork --live`, `restore`, `opportunistic`. */

import { constants } from 'node:os'
import process from 'node:process'
import { parseArgs } from 'node:util'
import { exitCodes } from '../src/shared/errors.ts'
import { UsageError, whole } from './arguments.ts'
import { benchFork, type ForkBenchOptions } from './fork-bench.ts'
import { liveArguments, liveUsage, parseLive } from './live/live-arguments.ts'
import { benchLive } from './live/live-bench.ts'
import { showLiveReport } from './live/live-report.ts'
import {
  opportunisticArguments,
  opportunisticUsage,
  parseOpportunistic,
} from './opportunistic/opportunistic-arguments.ts'
import { benchOpportunistic } from './opportunistic/opportunistic-bench.ts'
import { showOpportunistic } from './opportunistic/opportunistic-report.ts'
import { showReport } from './report.ts'
import { parseRestore, restoreArguments, restoreUsage } from './restore/restore-arguments.ts'
import { benchRestore } from './restore/restore-bench.ts'
import { showRestoreReport } from './restore/restore-report.ts'

const forkUsage = `Usage: ramet bench fork [options]
       ramet bench fork --live [options]

Measures, in turn and in one run: the least that stock QEMU needs (the floor), a fork by Ramet, a cold boot.
It uses a daemon of its own on a directory of its own, and leaves nothing but images in the cache.

  --image micro|debian   image to measure with (micro)
  --count N              runs of each kind (20)
  --children N           also fork N children by one request, each of which must answer (1: do not)
  --churn N              also fork and remove N times, and count what is left (0: do not)
  --idle N               children to let be for --idle-seconds, and to weigh then (3)
  --idle-seconds S       (10)
  -o, --output table|json, or --json

Example: ramet bench fork --image debian --children 50 -o json > fork.json

${liveUsage}`

const usages: Record<string, string> = { fork: forkUsage, restore: restoreUsage, opportunistic: opportunisticUsage }
const usage = Object.values(usages).join('\n')

const options = {
  ...liveArguments,
  ...opportunisticArguments,
  ...restoreArguments,
  image: { type: 'string', default: 'micro' },
  count: { type: 'string', default: '20' },
  children: { type: 'string' },
  churn: { type: 'string', default: '0' },
  idle: { type: 'string', default: '3' },
  'idle-seconds': { type: 'string', default: '10' },
  output: { type: 'string', short: 'o', default: 'table' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const

const parse = (args: string[]) => parseArgs({ args, allowPositionals: true, options })
type Values = ReturnType<typeof parse>['values']
type Progress = Pick<ForkBenchOptions, 'signal' | 'say'>

async function main(args: string[]): Promise<number> {
  const { values, positionals } = parse(args)
  if (values.help) {
    process.stdout.write(usages[positionals[0] ?? ''] ?? usage)
    return exitCodes.ok
  }
  const plan = positionals.length === 1 ? plans[positionals[0] ?? ''] : undefined
  if (plan === undefined) throw new UsageError(`name what to measure: ${Object.keys(plans).join(' or ')}`)
  const output = values.json ? 'json' : values.output
  if (output !== 'table' && output !== 'json') throw new UsageError('--output takes table or json')
  const measure = plan(values)
  const interrupts = watchInterrupts()
  try {
    const { report, show } = await measure({
      signal: interrupts.signal,
      say,
    })
    process.stdout.write(`${output === 'json' ? JSON.stringify(report, null, 2) : show()}\n`)
    return exitCodes.ok
  } catch (error) {
    const { received } = interrupts
    if (received === undefined) throw error
    const clean = isOnly(error, interrupts.signal.reason)
    say(`interrupted; ${clean ? 'nothing is left' : `then: ${messageOf(error)}`}`)
    return 128 + constants.signals[received]
  }
}

/**
 * The first signal aborts what is under way. The second is only answered, since there are vms, perhaps a mount, to be
 * cleaned up, and it may be the first that came by two ways; the third ends the process as it stands.
 */
function watchInterrupts(): { signal: AbortSignal; received: 'SIGINT' | 'SIGTERM' | undefined } {
  const controller = new AbortController()
  const interrupts: ReturnType<typeof watchInterrupts> = { signal: controller.signal, received: undefined }
  let count = 0
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.on(name, () => {
      count += 1
      if (count === 1) {
        interrupts.received = name
        controller.abort(new Error('interrupted'))
      } else if (count === 2) say('interrupted, and cleaning up; a third signal would leave it undone')
      else process.exit(128 + constants.signals[name])
    })
  }
  return interrupts
}

const say = (text: string): void => void process.stderr.write(`bench: ${text}\n`)

/** What is asked for is read before anything is begun. @throws UsageError */
function planFork(values: Values) {
  const { image } = values
  if (image !== 'micro' && image !== 'debian') throw new UsageError('--image takes micro or debian')
  const plan = {
    image,
    count: whole('--count', values.count, 1, 10_000),
    children: whole('--children', values.children ?? '1', 1, 1_000),
    churn: whole('--churn', values.churn, 0, 100_000),
    idleChildren: whole('--idle', values.idle, 0, 100),
    idleMs: whole('--idle-seconds', values['idle-seconds'], 0, 3_600) * 1000,
  } as const
  return async (progress: Progress) => {
    const report = await benchFork({ ...plan, ...progress })
    return { report, show: () => showReport(report) }
  }
}

/** @throws UsageError */
function planLive(values: Values) {
  const plan = parseLive(values)
  return async (progress: Progress) => {
    const report = await benchLive({ ...plan, ...progress })
    return { report, show: () => showLiveReport(report) }
  }
}

/** @throws UsageError */
function planRestore(values: Values) {
  const plan = parseRestore(values)
  return async (progress: Progress) => {
    const report = await benchRestore({ ...plan, ...progress })
    return { report, show: () => showRestoreReport(report) }
  }
}

/** @throws UsageError */
function planOpportunistic(values: Values) {
  const plan = parseOpportunistic(values)
  return async (progress: Progress) => {
    const report = await benchOpportunistic({ ...plan, ...progress })
    return { report, show: () => showOpportunistic(report) }
  }
}

type Plan = (values: Values) => (progress: Progress) => Promise<{ report: object; show: () => string }>

/** By the word after `ramet bench`. */
const plans: Readonly<Record<string, Plan>> = {
  fork: (values) => (values.live ? planLive(values) : planFork(values)),
  restore: planRestore,
  opportunistic: planOpportunistic,
}

/** What is being left when an interrupt comes is aborted by it too, and says so. */
function isOnly(error: unknown, reason: unknown): boolean {
  if (error instanceof SuppressedError) return isOnly(error.error, reason) && isOnly(error.suppressed, reason)
  return error === reason || (error instanceof Error && error.cause === reason)
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function isUsageError(error: unknown): error is Error {
  const badOption = error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS')
  return badOption || error instanceof UsageError
}

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code
  },
  (error: unknown) => {
    if (isUsageError(error)) process.stderr.write(`ramet bench: ${error.message}\n\n${usage}`)
    else process.stderr.write(`ramet bench: ${messageOf(error)}\n`)
    process.exitCode = isUsageError(error) ? exitCodes.usage : exitCodes.error
  },
)
