import type { Exec } from '../../client/index.ts'
import { defineCommand, flag, required } from '../command.ts'
import { formatAge, harmless } from '../format.ts'
import { type Column, showList } from '../output.ts'
import { resolveVm } from '../resolve.ts'

const columns: readonly Column<Exec & { name: string }>[] = [
  { heading: 'ID', of: (exec) => exec.execId },
  { heading: 'PID', of: (exec) => String(exec.pid ?? '-') },
  {
    heading: 'STATE',
    of: (exec) => exec.signal ?? (exec.exitCode === undefined ? exec.state : `exit ${exec.exitCode}`),
  },
  { heading: 'ATTACHED', of: (exec) => (exec.attached ? 'yes' : exec.detached ? 'no, detached' : 'no') },
  { heading: 'AGE', of: (exec) => formatAge(exec.startedAt) },
  { heading: 'COMMAND', of: (exec) => harmless(exec.argv.join(' ')) },
]

export default defineCommand({
  description:
    'Lists the processes of a vm that were started through Ramet, by exec, the SDK or the start command of its template; those of a parent are in its children too. For all processes of the guest: ramet exec VM ps.',
  examples: [
    { line: 'ramet ps web', does: 'What runs in web.' },
    { line: 'ramet ps --all web', does: 'Also what has ended.' },
  ],
  arguments: { vm: required('vm, by name or id', 'vm') },
  options: { all: flag('-a, --all', 'also those that have ended') },
  run: async ({ args, options }, context) => {
    const ramet = await context.ramet()
    const vm = await resolveVm(ramet, args.vm, context.signal)
    const execs = await vm.commands.list({ signal: context.signal })
    const shown = execs.filter((exec) => options.all || exec.state === 'running')
    const rows = shown.map((exec) => ({ ...exec, name: exec.execId }))
    await showList(
      context,
      context.format === 'json' ? (shown as typeof rows) : rows,
      columns,
      `nothing runs in ${vm.name}`,
    )
    return undefined
  },
})
