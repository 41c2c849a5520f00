import type { Operation } from '../../client/index.ts'
import { defineCommand, flag } from '../command.ts'
import { formatAge } from '../format.ts'
import { type Column, showList } from '../output.ts'
import { describeStage } from '../progress.ts'

const columns: readonly Column<Operation>[] = [
  { heading: 'ID', of: (operation) => operation.id },
  { heading: 'KIND', of: (operation) => operation.kind },
  { heading: 'ON', of: (operation) => operation.target.name },
  { heading: 'STATE', of: (operation) => operation.state },
  { heading: 'STAGE', of: (operation) => operation.error?.detail ?? describeStage(operation.progress) },
  { heading: 'AGE', of: (operation) => formatAge(operation.createdAt) },
]

export default defineCommand({
  description:
    'Lists operations that are under way; with --all also those that are over, as far as they are remembered.',
  examples: [
    { line: 'ramet operation ls', does: 'What is under way.' },
    { line: 'ramet operation ls --all', does: 'What was done before, too.' },
  ],
  arguments: {},
  options: { all: flag('-a, --all', 'also those that are over') },
  run: async ({ options }, context) => {
    const ramet = await context.ramet()
    const state = options.all ? {} : { state: ['pending', 'running'] as const }
    const operations = await ramet.operations.list({ signal: context.signal, ...state })
    await showList(context, operations, columns, 'nothing is under way')
    return undefined
  },
})
