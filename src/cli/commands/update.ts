import type { VmUpdateInput } from '../../api/vm-create.ts'
import { defineCommand, parsed, required, type Values, value } from '../command.ts'
import { idleHelp, idleOptions, idleRequest, runOptions } from '../options/run.ts'
import { showOne } from '../output.ts'
import { parseDurationMs } from '../parse/duration.ts'
import { oneOf } from '../parse/number.ts'
import { parseRestart } from '../parse/restart.ts'
import { resolveVm } from '../resolve.ts'
import { UsageError } from '../show-error.ts'

/** A duration, or `none`. */
const durationOrNone = (text: string): number | 'none' => (text === 'none' ? text : parseDurationMs(text))

const updateOptions = {
  name: value('-n, --name <name>', 'another name'),
  ttl: parsed('--ttl <duration>', 'remove it by itself after this time from now, as 30m; or none', durationOrNone),
  idlePause: parsed(
    '--idle-pause <duration>',
    'pause it by itself after this time without a call, as 10m; or none',
    durationOrNone,
  ),
  idleToDisk: parsed(
    '--idle-to-disk <duration>',
    'the same, to disk: it then takes no memory; or none',
    durationOrNone,
  ),
  idleStay: idleOptions.idleStay,
  restart: parsed('--restart <policy>', 'start it again by itself: no, always or on-failure[:N]', parseRestart),
  link: parsed('--link <state>', 'network links: up or down', oneOf('up', 'down'), ['up', 'down']),
  cpuLimit: runOptions.cpuLimit,
  memoryLimit: runOptions.memoryLimit,
}

export default defineCommand({
  description: `Changes what can be changed of a vm that exists, in whatever state it is. What is not named stays; the two limits are set together, and so are all the --idle options. Times count from now.\n\n${idleHelp}`,
  examples: [
    { line: 'ramet update web --idle-pause 10m', does: 'Lets web pause when nobody needs it.' },
    { line: 'ramet update web --idle-pause none --ttl none', does: 'Lets it run, for good.' },
  ],
  arguments: { vm: required('vm, by name or id', 'vm') },
  options: updateOptions,
  run: async ({ args, options }, context) => {
    const changes = changesOf(options)
    if (Object.keys(changes).length === 0)
      throw new UsageError('what shall change?', 'Name at least one option; ramet update --help lists them.')
    const ramet = await context.ramet()
    const vm = await resolveVm(ramet, args.vm, context.signal)
    const info = await vm.update(changes, { signal: context.signal })
    await showOne(context, info, info.name)
    return undefined
  },
})

function changesOf(options: Values<typeof updateOptions>): VmUpdateInput {
  const { name, ttl, idlePause, idleToDisk, restart, link, cpuLimit, memoryLimit } = options
  const limits = {
    ...(cpuLimit === undefined ? {} : { cpuCores: cpuLimit }),
    ...(memoryLimit === undefined ? {} : { memoryBytes: memoryLimit }),
  }
  return {
    ...(name === undefined ? {} : { name }),
    ...(ttl === undefined ? {} : { ttlSeconds: ttl === 'none' ? null : ttl / 1000 }),
    ...(idlePause === 'none' || idleToDisk === 'none' ? { idle: null } : {}),
    ...idleRequest(options),
    ...(restart === undefined ? {} : { restart }),
    ...(link === undefined ? {} : { link }),
    ...(Object.keys(limits).length === 0 ? {} : { limits }),
  }
}
