import { defineCommand, flag, list, required, value } from '../command.ts'
import { showOne } from '../output.ts'
import { parsePair } from '../parse/pair.ts'
import { resolveVm } from '../resolve.ts'

export default defineCommand({
  description:
    'Copies the disks of a vm into a new one, copy-on-write, and nothing of its memory: the clone boots. To go on from the state of memory, fork it.',
  examples: [
    { line: 'ramet clone web --name web-copy --start', does: 'A copy of the disks of web, booted.' },
    { line: 'ramet clone web', does: 'The same, not started, under an invented name.' },
  ],
  arguments: { vm: required('vm, by name or id', 'vm') },
  options: {
    name: value('-n, --name <name>', 'name; invented when left out'),
    start: flag('--start', 'boot it'),
    label: list('-l, --label <key=value>', 'label to select by later; repeat for more', parsePair),
  },
  run: async ({ args, options }, context) => {
    const ramet = await context.ramet()
    const vm = await resolveVm(ramet, args.vm, context.signal)
    const clone = await vm.clone({
      start: options.start,
      labels: Object.fromEntries(options.label),
      ...(options.name === undefined ? {} : { name: options.name }),
      ...context.action(`cloning ${vm.name}`),
    })
    context.progress.clear()
    await showOne(context, clone.info, clone.name)
    return undefined
  },
})
