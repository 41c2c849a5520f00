import { limits } from '../../shared/limits.ts'
import { defineCommand, flag, list, parsed, required, type Values, value } from '../command.ts'
import { machineOptions, machineRequest } from '../options/machine.ts'
import { showOne } from '../output.ts'
import { parseDurationMs } from '../parse/duration.ts'
import { wholeNumber } from '../parse/number.ts'
import { parsePair, parseVariable } from '../parse/pair.ts'
import { resolveVm } from '../resolve.ts'
import { UsageError } from '../show-error.ts'

const options = {
  from: value('--from <vm>', 'vm to make it from; it is consumed', 'vm'),
  keep: flag('--keep', 'let the vm go on, as the first child of the template'),
  image: value('--image <image>', 'image to boot instead, to make it in one go', 'image'),
  start: value('--start <command>', 'with --image: line to start in the guest; it goes on running in every child'),
  ready: value(
    '--ready <command>',
    'with --image: line that succeeds in the guest once it is ready; tried again and again',
  ),
  readyTimeout: parsed('--ready-timeout <duration>', 'how long the probe may take', parseDurationMs),
  armed: parsed('--armed <n>', 'QEMU processes to keep started ahead', wholeNumber(0, limits.armedMaxCount)),
  label: list('-l, --label <key=value>', 'label to select by later; repeat for more', parsePair),
  env: list('-e, --env <name=value>', 'with --image: environment of the start command', (text) => parseVariable(text)),
  ...machineOptions,
}

export default defineCommand({
  description:
    'Makes a template: a vm in the state that you want, stopped and sealed, to fork children from. Made from a vm it consumes it (no process keeps its memory writable), unless --keep lets it go on as the first child. Or in one go: boot an image, start a program in it, and wait until it is ready.',
  examples: [
    { line: 'ramet template create warm-web --from web', does: 'Makes web a template.' },
    {
      line: 'ramet template create warm-web --from web --keep --armed 4',
      does: 'Keeps web, and four processes ahead.',
    },
    {
      line: 'ramet template create api --image debian --start "/srv/api" --ready "test -e /run/api.ready"',
      does: 'From an image, once its server says that it is ready.',
    },
  ],
  arguments: { name: required('name of the template') },
  options,
  run: async ({ args, options }, context) => {
    if ((options.from === undefined) === (options.image === undefined))
      throw new UsageError('a template is made from a vm or from an image', 'Give --from VM, or --image IMAGE.')
    const ramet = await context.ramet()
    const common = {
      name: args.name,
      labels: Object.fromEntries(options.label),
      ...(options.armed === undefined ? {} : { armed: options.armed }),
      ...context.action(`making template ${args.name}`),
    }
    const { template, kept } =
      options.from === undefined
        ? await ramet.templates.create({ ...common, from: 'image', ...imageRequest(options) })
        : await ramet.templates.create({
            ...common,
            from: 'vm',
            vm: (await resolveVm(ramet, options.from, context.signal)).id,
            keep: options.keep,
          })
    context.progress.clear()
    const wire = { template: template.info, ...(kept === undefined ? {} : { kept: kept.info }) }
    await showOne(context, context.format === 'json' ? wire : template.info, template.name)
    return undefined
  },
})

function imageRequest(given: Values<typeof options>) {
  return {
    image: given.image ?? '',
    ...machineRequest(given),
    environment: Object.fromEntries(given.env),
    ...(given.start === undefined ? {} : { startCommand: ['/bin/sh', '-c', given.start] }),
    ...(given.ready === undefined ? {} : { readiness: readiness(given.ready, given.readyTimeout) }),
  }
}

const readiness = (command: string, timeoutMs: number | undefined) => ({
  command: ['/bin/sh', '-c', command],
  ...(timeoutMs === undefined ? {} : { timeoutMs }),
})
