import { setTimeout as delay } from 'node:timers/promises'
import { type Ramet, RametApiError, type Vm, type VmStats } from '../../client/index.ts'
import { formatBytes } from '../../shared/limits.ts'
import { defineCommand, flag, parsed, rest } from '../command.ts'
import type { Context } from '../context.ts'
import { hostLines } from '../host-lines.ts'
import { line } from '../io.ts'
import { type Column, showList } from '../output.ts'
import { parseDurationMs } from '../parse/duration.ts'
import { resolveVms } from '../resolve.ts'
import { UsageError } from '../show-error.ts'

const percent = (fraction: number) => `${(fraction * 100).toFixed(fraction < 0.1 ? 1 : 0)}%`

const columns: readonly Column<VmStats>[] = [
  { heading: 'NAME', of: (stats) => stats.name },
  { heading: 'CPU', of: (stats) => percent(stats.cpuFraction) },
  { heading: 'PRIVATE', of: (stats) => formatBytes(stats.memory.privateBytes) },
  { heading: 'SHARED', of: (stats) => formatBytes(stats.memory.sharedBytes) },
  { heading: 'QEMU', of: (stats) => formatBytes(stats.memory.vmmBytes) },
  { heading: 'DISK', of: (stats) => formatBytes(stats.disk.privateBytes) },
  { heading: 'GUEST FREE', of: (stats) => (stats.guest ? formatBytes(stats.guest.memoryAvailableBytes) : '-') },
  { heading: 'PROCESSES', of: (stats) => String(stats.guest?.processCount ?? '-') },
]

export default defineCommand({
  description:
    'Shows what vms use. PRIVATE is guest memory of its own, SHARED what it reads from a base that others read too, QEMU the process beside both, DISK the room of its deltas. With --watch it looks again and again; as JSON then an array a line. Without a vm, what the host has follows: memory as admission of vms sees it, and the cache in memory that is free at the same time (docs/memory.md); --host shows that alone.',
  examples: [
    { line: 'ramet stats', does: 'All vms that run, once.' },
    { line: 'ramet stats --host -o json', does: 'Memory of the host, and what is cached in it, for a program.' },
    { line: 'ramet stats --watch web', does: 'One, every second, until Ctrl-C.' },
  ],
  arguments: { vm: rest('vms, by name or id; all that run when left out', 'vm') },
  options: {
    host: flag('--host', 'the host alone, no vms'),
    watch: flag('-w, --watch', 'look again and again'),
    interval: parsed('--interval <duration>', 'how often, with --watch; 1s when left out', parseDurationMs),
  },
  run: async ({ args, options }, context) => {
    const ramet = await context.ramet()
    if (options.host && args.vm.length > 0)
      throw new UsageError('--host shows the host alone', 'Leave the names of vms out, or --host.')
    const chosen = args.vm.length === 0 ? undefined : await resolveVms(ramet, args.vm, context.signal)
    const look = { ramet, chosen, host: options.host === true }
    if (!options.watch) {
      await show(look, context, 2)
      return undefined
    }
    const onTerminal = context.io.stdout.isTTY === true && context.format === 'table'
    for (;;) {
      await show(look, context, 0, onTerminal ? '\u001b[H\u001b[2J' : '')
      await delay(options.interval ?? 1000, undefined, { signal: context.signal })
    }
  },
})

interface Look {
  ramet: Ramet
  /** undefined: all that run, and the host */
  chosen: readonly Vm[] | undefined
  /** the host alone */
  host: boolean
}

/**
 * @param indent of JSON
 * @param before written when there is something to show
 */
async function show({ ramet, chosen, host }: Look, context: Context, indent: number, before = ''): Promise<void> {
  const { io, format, signal } = context
  const rows = host ? [] : await measure(ramet, chosen, context)
  const ofHost = host || (chosen === undefined && format === 'table') ? await ramet.hostStats({ signal }) : undefined
  io.stdout.write(before)
  if (format === 'json') return await line(io, JSON.stringify(host ? ofHost : rows, null, indent))
  if (!host) await showList(context, rows, columns, 'no vms run')
  if (ofHost !== undefined) await line(io, `${rows.length > 0 ? '\n' : ''}${hostLines(ofHost)}`)
}

async function measure(ramet: Ramet, chosen: readonly Vm[] | undefined, context: Context): Promise<VmStats[]> {
  const { signal } = context
  const vms = chosen ?? (await ramet.vms.list({ signal, state: ['running', 'paused'] }))
  const all = await Promise.all(vms.map((vm) => vm.stats({ signal }).catch(unlessGone)))
  return all.filter((stats) => stats !== undefined)
}

/** One that was removed since it was listed is left out. */
function unlessGone(error: unknown): undefined {
  if (!(error instanceof RametApiError && error.code === 'VM_NOT_FOUND')) throw error
}
