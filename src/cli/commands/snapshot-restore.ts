import { ForkError, type SnapshotRestoreReport } from '../../client/index.ts'
import { limits } from '../../shared/limits.ts'
import { defineCommand, flag, parsed, required, type Values, value } from '../command.ts'
import type { Context } from '../context.ts'
import { note } from '../io.ts'
import { fileOptions, filesRequest } from '../options/files.ts'
import { idleHelp, runOptions, runRequest } from '../options/run.ts'
import { oneOf, wholeNumber } from '../parse/number.ts'
import { resolveSnapshot } from '../resolve.ts'
import { showChildren } from '../show-children.ts'
import { UsageError } from '../show-error.ts'

const policies = ['auto', 'none', 'physical', 'virtual', 'adaptive', 'recorded'] as const
const links = ['up', 'down'] as const
const waits = ['running', 'ready'] as const

const options = {
  as: value('--as <name>', 'make a new vm of this name, rather than go back'),
  count: parsed('-n, --count <n>', 'new vms to make', wholeNumber(1, limits.forkMaxCount)),
  namePrefix: value('--name-prefix <prefix>', 'new vms are called prefix-0, prefix-1 and so on'),
  lazy: flag('--lazy', 'run before memory has come, also where several are made'),
  shared: flag('--shared', 'load memory once and have all new vms share it: so it is for several'),
  eager: flag('--eager', 'load all memory before the vm runs'),
  policy: parsed(
    '--policy <name>',
    'of a lazy restore, what comes along with a page that is waited for: auto (the default), none, physical, virtual, adaptive, recorded',
    oneOf(...policies),
    policies,
  ),
  wait: parsed('--wait <for>', 'running, or ready (the default): its identity is proved', oneOf(...waits), waits),
  link: parsed('--link <state>', 'network links of new vms: up (the default) or down', oneOf(...links), links),
  ...fileOptions,
  ...runOptions,
}

export default defineCommand({
  description:
    'Restores a vm from a snapshot: memory, devices and disks, as they were at that moment. Without --as or --count the vm itself goes back, under its name, with its addresses; it must not run then, and what it has written since is lost. One that was removed is made again. With --as or --count new vms are made beside it, each with a name, addresses and randomness of its own, any number of times; none of them needs the snapshot once its memory has come.\n\n' +
    'A vm runs before its memory has come: what it touches is fetched at once, with what is near to it in the memory of its programs, and the rest follows in the background (ramet inspect shows how far it is). From the second restore on, the pages that the earlier ones used come first. Several new vms share their memory instead: it is loaded once, and each copies what it writes, as forks do; --lazy gives each its own. --eager loads all memory first; so it is too on a host that cannot wait for single pages, and then a line says why.\n\n' +
    'A snapshot of another machine type, processor or QEMU is refused, with what differs.\n\n' +
    idleHelp,
  examples: [
    { line: 'ramet snapshot restore before-upgrade', does: 'The vm goes back to that moment.' },
    { line: 'ramet snapshot restore before-upgrade --as web-again', does: 'A new vm beside it.' },
    { line: 'ramet snapshot restore seeded-db -n 8 --name-prefix ci', does: 'Eight that share their memory.' },
  ],
  arguments: { snapshot: required('snapshot, by name or id', 'snapshot') },
  options,
  run: async ({ args, options }, context) => {
    const request = await requestOf(options)
    const snapshot = await resolveSnapshot(await context.ramet(), args.snapshot, context.signal)
    const report = await snapshot.restoreReport({ ...request, ...context.action(`restoring ${snapshot.name}`) })
    context.progress.clear()
    const exitCode = await showChildren(context, report.vms, `no vm of ${snapshot.name} was made`)
    if (context.format === 'table') await explain(context, report)
    return exitCode
  },
})

async function requestOf(given: Values<typeof options>) {
  const { as, count, link, namePrefix, policy, wait } = given
  const modes = (['lazy', 'shared', 'eager'] as const).filter((mode) => given[mode])
  const [mode] = modes
  if (modes.length > 1)
    throw new UsageError(`--${modes.join(' and --')} exclude each other`, 'Memory comes in one of these ways.')
  if (policy !== undefined && (mode === 'shared' || mode === 'eager'))
    throw new UsageError(
      `--policy has no effect with --${mode}`,
      'It is for memory that comes while the vm runs: --lazy.',
    )
  if (as !== undefined && (count ?? 1) !== 1)
    throw new UsageError('--as is for one vm', 'Use --name-prefix for several.')
  const isNew = as !== undefined || count !== undefined || namePrefix !== undefined
  return {
    into: isNew ? ('new' as const) : ('same' as const),
    count: count ?? 1,
    ...runRequest(given),
    ...(as === undefined ? {} : { names: [as] }),
    ...(namePrefix === undefined ? {} : { namePrefix }),
    ...(mode === undefined ? {} : { mode }),
    ...(policy === undefined ? {} : { policy }),
    ...(link === undefined ? {} : { link }),
    ...(wait === undefined ? {} : { wait }),
    files: await filesRequest(given),
  }
}

const ways: Record<SnapshotRestoreReport['mode'], string> = {
  lazy: 'memory follows while it runs: ramet inspect shows how far it is',
  shared: 'memory was loaded once and is shared',
  eager: 'all memory was loaded first',
}

/** How its memory comes, and what is out of the ordinary. */
async function explain(context: Context, { mode, vms, warnings = [] }: SnapshotRestoreReport): Promise<void> {
  if (vms.every((vm) => vm instanceof ForkError)) return
  for (const text of [ways[mode], ...warnings]) await note(context.io, text)
}
