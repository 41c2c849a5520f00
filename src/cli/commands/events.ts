import type { Event, Operation } from '../../client/index.ts'
import { defineCommand, list, parsed } from '../command.ts'
import { line, note } from '../io.ts'
import { oneOf, wholeNumber } from '../parse/number.ts'
import { describeStage } from '../progress.ts'

const kinds = ['vm', 'template', 'snapshot', 'image', 'operation', 'host'] as const

export default defineCommand({
  description:
    'Follows what happens, until Ctrl-C: one line an event, with -o json one object a line. After a restart of the daemon it goes on where it was. With --after it begins with what came after an event, as far as that is remembered.',
  examples: [
    { line: 'ramet events', does: 'All that happens from now on.' },
    { line: 'ramet events --kind vm -o json', does: 'What happens to vms, for a program.' },
  ],
  arguments: {},
  options: {
    kind: list(
      '--kind <kind>',
      'only of vm, template, snapshot, image, operation or host; repeat for more',
      oneOf(...kinds),
    ),
    after: parsed('--after <id>', 'begin after this event', wholeNumber(0, Number.MAX_SAFE_INTEGER)),
  },
  run: async ({ options }, context) => {
    const ramet = await context.ramet()
    const events = ramet.events({
      signal: context.signal,
      ...(options.kind.length === 0 ? {} : { resources: options.kind }),
      ...(options.after === undefined ? {} : { afterId: options.after }),
      onReset: () => void note(context.io, 'ramet: some events have been forgotten'),
    })
    for await (const event of events)
      await line(context.io, context.format === 'json' ? JSON.stringify(event) : eventText(event))
    context.signal.throwIfAborted()
    return undefined
  },
})

export function eventText(event: Event): string {
  const time = event.at.replace(/^.*T/, '').replace(/\.\d+Z$|Z$/, '')
  const { state, reason, operation } = event.data as { state?: unknown; reason?: unknown; operation?: Operation }
  const name = operation?.target.name ?? event.resource.name ?? event.resource.id
  const facts =
    operation === undefined ? [state, reason] : [operation.kind, operation.state, describeStage(operation.progress)]
  return [time, event.type, name, ...facts.filter((fact) => typeof fact === 'string')].join('  ')
}
