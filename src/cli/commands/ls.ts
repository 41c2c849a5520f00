import type { VmInfo } from '../../client/index.ts'
import { defineCommand, flag, list, value } from '../command.ts'
import { note } from '../io.ts'
import { showList } from '../output.ts'
import { vmColumnsFor } from '../vm-view.ts'

const atRest = ['created', 'stopped']

export default defineCommand({
  description:
    'Lists vms: those that run, are paused or have failed; with --all also those that are stopped or were never started. GEN is the generation: it rises with every fork. NOTE tells of vms that paused by themselves, and of those that were forked without their agent, or without a freeze.',
  examples: [
    { line: 'ramet ls', does: 'What runs.' },
    { line: 'ramet ls --parent warm-web', does: 'The children of a template.' },
    { line: 'ramet ls -q --label team=data', does: 'Names only, of those with a label.' },
  ],
  arguments: {},
  options: {
    all: flag('-a, --all', 'also those that are stopped'),
    label: list('-l, --label <key[=value]>', 'only those with this label; repeat for more', (text) => text),
    parent: value('--parent <name>', 'only children of this template or vm', 'source'),
  },
  run: async ({ options }, context) => {
    const ramet = await context.ramet()
    const vms = await ramet.vms.list({
      signal: context.signal,
      label: options.label,
      ...(options.parent === undefined ? {} : { parent: options.parent }),
    })
    const all = vms.map((vm): VmInfo => vm.info)
    const shown = options.all ? all : all.filter((vm) => !atRest.includes(vm.state))
    const hidden = all.length - shown.length
    await showList(
      context,
      shown,
      vmColumnsFor(shown),
      options.all ? 'there are no vms; boot one with: ramet run micro' : 'no vms run; boot one with: ramet run micro',
    )
    if (hidden > 0 && context.format === 'table') await note(context.io, `${hidden} not running; --all shows them`)
    return undefined
  },
})
