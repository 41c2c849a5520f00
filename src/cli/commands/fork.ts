import { ForkError, type ForkReport, type Template, type Vm } from '../../client/index.ts'
import { limits } from '../../shared/limits.ts'
import { defineCommand, flag, hidden, parsed, required, type Values, value } from '../command.ts'
import type { Context } from '../context.ts'
import { parentLine } from '../fork-lines.ts'
import { note } from '../io.ts'
import { fileOptions, filesRequest } from '../options/files.ts'
import { machineOptions, machineRequest } from '../options/machine.ts'
import { idleHelp, runOptions, runRequest } from '../options/run.ts'
import { parseShortDurationMs } from '../parse/duration.ts'
import { oneOf, wholeNumber } from '../parse/number.ts'
import { resolveSource } from '../resolve.ts'
import { showChildren } from '../show-children.ts'
import { UsageError } from '../show-error.ts'

const forkOptions = {
  count: parsed('-n, --count <n>', 'children to make; 1 when left out', wholeNumber(1, limits.forkMaxCount)),
  name: value('--name <name>', 'name of the child, when there is one'),
  namePrefix: value('--name-prefix <prefix>', 'children are called prefix-0, prefix-1 and so on'),
  atomic: flag('--atomic', 'all or none: if one fails, the others are removed'),
  wait: parsed('--wait <for>', 'running, or ready (the default): its identity is proved', oneOf('running', 'ready'), [
    'running',
    'ready',
  ]),
  link: parsed('--link <state>', 'network links of the children: up (the default) or down', oneOf('up', 'down'), [
    'up',
    'down',
  ]),
  pauseParent: flag('--pause-parent', 'leave the forked vm paused, at the very moment of its children'),
  // commander makes “freeze” and “agent” of them, true unless given
  freeze: flag('--no-freeze', 'do not freeze the workload: children run a moment in the name of their parent'),
  agent: flag('--no-agent', 'do not ask the agent: children without identity, network and commands'),
  capture: parsed(
    '--capture <way>',
    'how a running vm is captured: auto (the default), copy, or background',
    oneOf('auto', 'copy', 'background'),
    ['auto', 'copy', 'background'],
  ),
  maxPause: parsed(
    '--max-pause <duration>',
    'longest pause of a running vm, such as 50ms; else refuse',
    parseShortDurationMs,
  ),
  ...fileOptions,
  ...runOptions,
  // A template decides these. They are passed on, so that the refusal can say what the template has.
  image: hidden(value('--image <image>', 'refused: the template decides')),
  cpus: hidden(machineOptions.cpus),
  memory: hidden(machineOptions.memory),
  disk: hidden(machineOptions.disk),
  network: hidden(machineOptions.network),
  init: hidden(machineOptions.init),
}

export default defineCommand({
  description:
    'Makes children of a template, or of a vm while it runs. Each goes on from the very state of its parent, sharing its memory and disks copy-on-write, with a name, addresses and randomness of its own. RUNNING and READY are the times from the request until the guest executed, and until its workload did with its own identity. If some children fail the others stay; the exit code is that of the first failure. A template is meant before a vm of the same name.\n\n' +
    'A vm that runs is stopped once for all children of a call; then it goes on with its connections and commands as if nothing had happened. Its hooks in pre-snapshot.d run before, and its workload is frozen a little longer than it is stopped, so that none of it executes in a child before the child has proved who it is.\n\n' +
    'With --capture copy it stands for as long as it takes to copy what it has written; in the background only while its memory is protected, however much that is, and then it runs slower until all of it is read. Left to itself, ramet copies unless that is expected to take longer than --max-pause, or a tenth of a second without it. A pause that neither way is expected to keep is refused, and so is a fork whose copying took longer than that after all. The disks’ part of the pause is not counted.\n\n' +
    '--pause-parent keeps it paused instead, so that it and its children can be compared; it can be forked again from that very point. --no-freeze spares the freeze, and a paused vm needs it: between its first instruction and its new identity, some 100 ms, the workload of a child acts as its parent would, with its secrets, its clock and its random numbers; only its links are down. --no-agent is for a guest whose agent does not answer: no hooks, no freeze, and a child that believes to be its parent, so its links stay down and no command runs in it until it is booted anew; it can be paused, resumed, read by logs, forked with --no-agent, stopped with --force, removed. ls and inspect mark both kinds. A vm that is starting, pausing, stopping or restoring is refused.\n\n' +
    `${idleHelp} A vm that paused so is resumed to be forked; its children do not pause by themselves unless told so here.`,
  examples: [
    { line: 'ramet fork warm-web --count 10', does: 'Ten children of a template.' },
    { line: 'ramet fork web --name web-experiment --ttl 1h', does: 'One of a running vm, removed after an hour.' },
    { line: 'ramet fork warm-web -n 4 --name-prefix ci -e SHARD=a --atomic', does: 'Four, or none at all.' },
  ],
  arguments: { source: required('template or vm, by name or id', 'source') },
  options: forkOptions,
  run: async ({ args, options }, context) => {
    const request = await forkRequest(options)
    const ramet = await context.ramet()
    const source = await resolveSource(ramet, args.source, context.signal)
    const action = context.action(`forking ${source.name}`)
    const report = await source.forkReport({ ...request, ...action })
    context.progress.clear()
    const exitCode = await showChildren(context, report.children, `no child of ${source.name} was made`)
    if (context.format === 'table') await showReport(context, source, report)
    return exitCode
  },
})

async function forkRequest(options: Values<typeof forkOptions>) {
  const count = options.count ?? 1
  if (options.name !== undefined && count !== 1)
    throw new UsageError('--name is for one child', 'Use --name-prefix for several.')
  return {
    count,
    ...runRequest(options),
    ...machineRequest(options),
    ...(options.image === undefined ? {} : { image: options.image }),
    ...(options.atomic ? { atomic: true } : {}),
    ...(options.pauseParent ? { pauseParent: true } : {}),
    ...(options.freeze ? {} : { freeze: false }),
    ...(options.agent ? {} : { agent: false }),
    ...(options.name === undefined ? {} : { names: [options.name] }),
    ...(options.namePrefix === undefined ? {} : { namePrefix: options.namePrefix }),
    ...(options.wait === undefined ? {} : { wait: options.wait }),
    ...(options.link === undefined ? {} : { link: options.link }),
    ...(options.capture === undefined ? {} : { capture: options.capture }),
    ...(options.maxPause === undefined ? {} : { maxPauseMs: options.maxPause }),
    files: await filesRequest(options),
  }
}

/** What the fork cost the parent, and what is out of the ordinary about the children: for people, beside the list. */
async function showReport(context: Context, source: Template | Vm, report: ForkReport): Promise<void> {
  if (!report.children.some((child) => !(child instanceof ForkError))) return
  const parent = parentLine(source.name, report)
  for (const text of [...(parent === undefined ? [] : [parent]), ...(report.warnings ?? [])])
    await note(context.io, text)
}
