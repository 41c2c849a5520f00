// The main job, on real VMs, in about a minute: `npm run demo`.
//
//   --children N      how many to fork (10)
import process from 'node:process'
import { parseArgs } from 'node:util'
import { textTable } from '../src/cli/text-table.ts'
import { treeLines } from '../src/cli/tree-lines.ts'
import type { Vm } from '../src/client/index.ts'
import { ForkError, RametApiError } from '../src/client/index.ts'
import { formatBytes } from '../src/shared/limits.ts'
import { readWalker, type WalkerState, walker } from './demo/walker.ts'
import { type ScratchDaemon, startScratchDaemon } from './scratch-daemon.ts'

const { values: flags } = parseArgs({ options: { children: { type: 'string', default: '10' } } })
const childCount = Number(flags.children)
if (!Number.isInteger(childCount) || childCount < 1 || childCount > 100) {
  process.stderr.write('--children takes a number from 1 to 100\n')
  process.exit(2)
}

const interrupted = new AbortController()
process.once('SIGINT', () => interrupted.abort(new Error('interrupted')))
process.once('SIGTERM', () => interrupted.abort(new Error('terminated')))
const { signal } = interrupted
const say = (text: string) => void process.stdout.write(`${text}\n`)
const ms = (value: number | undefined) => (value === undefined ? '-' : value.toFixed(0))

let lastShown = ''
const onProgress = (progress: { stage: string; message?: string | undefined }) => {
  const text = progress.message ?? progress.stage
  if (text === lastShown) return
  lastShown = text
  process.stdout.write(`    … ${text}\n`)
}

async function stateOf(vm: Vm): Promise<WalkerState> {
  return readWalker(await vm.files.read('/run/walker'))
}

/** Waits, by looking, until the walker of a vm has gone on; its steps are a tenth of a second apart. */
async function stateAfter(vm: Vm, steps: number): Promise<WalkerState> {
  for (;;) {
    signal.throwIfAborted()
    const state = await stateOf(vm).catch(() => undefined)
    if (state !== undefined && state.steps > steps) return state
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

async function makeTemplate(daemon: ScratchDaemon) {
  const { ramet } = daemon
  say('1. The image (built once, then kept in the cache)')
  await ramet.images.build({ recipe: 'debian', onProgress, signal })
  say('2. A VM boots, and a small program with state in its memory starts in it')
  const coldStartMs = performance.now()
  const parent = await ramet.vms.create({ name: 'parent', image: 'debian', onProgress, signal })
  const coldMs = performance.now() - coldStartMs
  await parent.files.write('/root/walker.py', walker)
  const program = await parent.commands.run(['python3', '/root/walker.py'], { background: true })
  await program.disconnect()
  const before = await stateAfter(parent, 10)
  say(`   booted in ${(coldMs / 1000).toFixed(1)} s; its walker: token ${before.token}, step ${before.steps}`)
  say('3. It becomes a template: frozen, saved, sealed; its process ends')
  const { template } = await ramet.templates.create({
    from: 'vm',
    name: 'walker',
    vm: 'parent',
    armed: 2,
    onProgress,
    signal,
  })
  return { template, before, coldMs }
}

interface Grown {
  vm: Vm
  first: WalkerState
  later: WalkerState
}

async function grow(children: Vm[]): Promise<Grown[]> {
  const firsts = await Promise.all(children.map((vm) => stateOf(vm)))
  return Promise.all(
    children.map(async (vm, index) => {
      const first = firsts[index] as WalkerState
      return { vm, first, later: await stateAfter(vm, first.steps + 5) }
    }),
  )
}

async function childRow({ vm, first, later }: Grown): Promise<string[]> {
  const [info, stats, machineId] = await Promise.all([vm.refresh(), vm.stats(), vm.files.read('/etc/machine-id')])
  const timings = info.timings ?? {}
  return [
    info.name,
    info.nics[0]?.ip ?? '-',
    machineId.trim().slice(0, 8),
    ms(timings.queueMs),
    ms(timings.spawnMs ?? 0),
    ms(timings.loadMs),
    ms(timings.runningMs),
    ms(timings.identityMs),
    ms(timings.readyMs),
    formatBytes(stats.memory.privateBytes),
    formatBytes(stats.memory.sharedBytes),
    later.token,
    `${first.steps} → ${later.steps}`,
    String(later.position),
  ]
}

const headings = [
  ...['CHILD', 'ADDRESS', 'MACHINE', 'QUEUE', 'SPAWN', 'LOAD', 'RUNNING', 'IDENTITY', 'READY'],
  ...['PRIVATE', 'SHARED', 'TOKEN', 'STEP', 'POSITION'],
]

function checkForks(before: WalkerState, grown: readonly Grown[]): string[] {
  const wrong: string[] = []
  for (const { vm, first, later } of grown) {
    if (later.token !== before.token || later.pid !== before.pid) wrong.push(`${vm.name} runs another program`)
    if (first.steps < before.steps) wrong.push(`${vm.name} began anew`)
  }
  if (new Set(grown.map(({ later }) => later.position)).size !== grown.length) wrong.push('two children walk alike')
  return wrong
}

async function run(daemon: ScratchDaemon): Promise<void> {
  const host = await daemon.ramet.host()
  const { template, before, coldMs } = await makeTemplate(daemon)
  say(`4. ${childCount} children are forked from its live memory`)
  const forkStartMs = performance.now()
  const results = await template.fork({ count: childCount, namePrefix: 'child', onProgress, signal })
  const forkMs = performance.now() - forkStartMs
  const failed = results.filter((result) => result instanceof ForkError)
  for (const error of failed) say(`   failed: ${error.message}`)
  const children = results.filter((result): result is Vm => !(result instanceof ForkError))
  const grown = await grow(children)
  say('')
  say(textTable(headings, await Promise.all(grown.map(childRow))))
  say('   (milliseconds; one token, one program: it went on in each child, and each walks its own way)')
  say('')
  say(treeLines((await daemon.ramet.tree()).nodes).join('\n'))
  say('')
  const wrong = [...checkForks(before, grown), ...failed.map((error) => error.message)]
  const ready = children.map((vm) => vm.info.timings?.readyMs ?? Number.NaN).sort((a, b) => a - b)
  const median = ready[Math.floor(ready.length / 2)] ?? Number.NaN
  say(`   cold boot of the same image to its agent: ${coldMs.toFixed(0)} ms`)
  say(
    `   all ${children.length} children ready after ${forkMs.toFixed(0)} ms: ${(forkMs / children.length).toFixed(0)} ms each`,
  )
  say(
    `   that is ${(coldMs / (forkMs / children.length)).toFixed(1)} times the children in the same time (median wait for one: ${median.toFixed(0)} ms)`,
  )
  say(`   accelerator: ${host.accelerator}, ${host.cpus} processors`)
  if (wrong.length > 0) throw new Error(`the demo found something wrong: ${wrong.join('; ')}`)
}

function remedyOf(error: unknown): string {
  return error instanceof RametApiError ? `  remedy: ${error.remediation}\n` : ''
}

const startMs = performance.now()
const daemon = await startScratchDaemon(signal)
let failure: unknown
try {
  await run(daemon)
} catch (error) {
  failure = error
}
say('5. Everything is removed')
const left = await daemon.close()
if (left.length > 0) failure ??= new Error(`left over: ${left.join(', ')}`)
if (failure === undefined) say(`   nothing is left; ${((performance.now() - startMs) / 1000).toFixed(0)} s in all`)
else
  process.stderr.write(`\ndemo: ${failure instanceof Error ? failure.message : String(failure)}\n${remedyOf(failure)}`)
process.exit(failure === undefined ? 0 : 1)
