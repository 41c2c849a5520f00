import { setTimeout as delay } from 'node:timers/promises'
import { type Ramet, RametApiError, type Vm, type VmStats } from '../../client/index.ts'
import { formatBytes } from '../../shared/limits.ts'
import { defineCommand, flag, parsed, rest } from '../command.ts'
import type { Context } from '../context.ts'
import { line } from '../io.ts'
import { type Column, showList } from '../output.ts'
import { parseDurationMs } from '../parse/duration.ts'
import { resolveVms } from '../resolve.ts'

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
    'Shows what vms use. PRIVATE is guest memory of its own, SHARED what it reads from a base that others read too, QEMU the process beside both, DISK the room of its deltas. With --watch it looks again and again; as JSON then an array a line.',
  examples: [
    { line: 'ramet stats', does: 'All vms that run, once.' },
    { line: 'ramet stats --watch web', does: 'One, every second, until Ctrl-C.' },
  ],
  arguments: { vm: rest('vms, by name or id; all that run when left out', 'vm') },
  options: {
    watch: flag('-w, --watch', 'look again and again'),
    interval: parsed('--interval <duration>', 'how often, with --watch; 1s when left out', parseDurationMs),
  },
  run: async ({ args, options }, context) => {
    const ramet = await context.ramet()
    const chosen = args.vm.length === 0 ? undefined : await resolveVms(ramet, args.vm, context.signal)
    if (!options.watch) {
      await showList(context, await measure(ramet, chosen, context), columns, 'no vms run')
      return undefined
    }
    const onTerminal = context.io.stdout.isTTY === true && context.format === 'table'
    for (;;) {
      const rows = await measure(ramet, chosen, context)
      if (onTerminal) context.io.stdout.write('\u001b[H\u001b[2J')
      if (context.format === 'json') await line(context.io, JSON.stringify(rows))
      else await showList(context, rows, columns, 'no vms run')
      await delay(options.interval ?? 1000, undefined, { signal: context.signal })
    }
  },
})

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
