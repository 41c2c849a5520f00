import { defineCommand, flag, list, parsed, required, type Values, value } from '../command.ts'
import type { Context } from '../context.ts'
import { formatDuration } from '../format.ts'
import { note } from '../io.ts'
import { showOne } from '../output.ts'
import { parseDurationMs, parseShortDurationMs } from '../parse/duration.ts'
import { oneOf } from '../parse/number.ts'
import { parsePair } from '../parse/pair.ts'
import { resolveVm } from '../resolve.ts'
import { savedLine } from '../snapshot-lines.ts'

const ways = ['auto', 'copy', 'background'] as const

const options = {
  name: value('-n, --name <name>', 'name of the snapshot; one is invented when left out'),
  label: list('-l, --label <key=value>', 'label to select by later; repeat for more', parsePair),
  ttl: parsed('--ttl <duration>', 'remove it by itself after this time, as 12h', parseDurationMs),
  full: flag('--full', 'store also what it shares with its template, to need none'),
  // commander makes “freeze” and “agent” of them, true unless given
  freeze: flag('--no-freeze', 'do not freeze the workload for the moment of the capture'),
  agent: flag('--no-agent', 'do not ask the agent: no hooks, no freeze'),
  capture: parsed(
    '--capture <way>',
    'how a running vm is captured: auto (the default), copy, or background',
    oneOf(...ways),
    ways,
  ),
  maxPause: parsed(
    '--max-pause <duration>',
    'longest pause of the vm, such as 50ms; else refuse',
    parseShortDurationMs,
  ),
}

export default defineCommand({
  description:
    'Saves a vm as it is at this moment: memory, devices and disks. It is stopped for some tens of milliseconds, as for a fork, and runs on while its memory is compressed and written; one that is paused stays so. What is saved has nothing to do with the vm any more, which can be removed.\n\n' +
    'Pages that are as in the template that the vm was forked from are not stored again: that template cannot be removed for as long as the snapshot is there, nor the image below its disks. With --full they are stored, so that the snapshot can be restored where there is no such template. Its hooks in pre-snapshot.d run before, and its workload is frozen for the moment of the capture; --no-freeze and --no-agent are as for fork. Ctrl-C undoes all of it.',
  examples: [
    { line: 'ramet snapshot create web --name before-upgrade', does: 'Saves web as it is.' },
    { line: 'ramet snapshot create web --ttl 12h -l job=nightly', does: 'One that goes by itself.' },
    { line: 'ramet snapshot create web --max-pause 50ms', does: 'Or not at all, if web would stand for longer.' },
  ],
  arguments: { vm: required('vm, by name or id', 'vm') },
  options,
  run: async ({ args, options }, context) => {
    const vm = await resolveVm(await context.ramet(), args.vm, context.signal)
    const snapshot = await vm.snapshot({ ...requestOf(options), ...context.action(`saving ${vm.name}`) })
    context.progress.clear()
    await showOne(context, snapshot.info, snapshot.name)
    if (context.format === 'table') await explain(context, vm.name, snapshot.info)
    return undefined
  },
})

function requestOf(given: Values<typeof options>) {
  return {
    labels: Object.fromEntries(given.label),
    ...(given.name === undefined ? {} : { name: given.name }),
    ...(given.ttl === undefined ? {} : { ttlMs: given.ttl }),
    ...(given.full ? { full: true } : {}),
    ...(given.freeze ? {} : { freeze: false }),
    ...(given.agent ? {} : { agent: false }),
    ...(given.capture === undefined ? {} : { capture: given.capture }),
    ...(given.maxPause === undefined ? {} : { maxPauseMs: given.maxPause }),
  }
}

/** What it cost the vm, and what is stored. */
async function explain(context: Context, vm: string, info: Parameters<typeof savedLine>[0]): Promise<void> {
  const pauseMs = info.timings?.pauseMs
  const paused = pauseMs === undefined ? '' : `${vm} paused ${formatDuration(pauseMs)}; `
  await note(context.io, `${paused}${savedLine(info)}`)
}
