import { defineCommand, flag, parsed, required } from '../command.ts'
import { line, write } from '../io.ts'
import { wholeNumber } from '../parse/number.ts'
import { resolveVm } from '../resolve.ts'

export default defineCommand({
  description:
    'Shows what a vm has written to its console: the messages of its kernel and of its first process. With --follow it goes on until the vm is removed, or Ctrl-C. With -o json each line is an object.',
  examples: [
    { line: 'ramet logs web', does: 'All that is kept.' },
    { line: 'ramet logs -f --tail 20 web', does: 'The last lines, and all that comes.' },
  ],
  arguments: { vm: required('vm, by name or id', 'vm') },
  options: {
    follow: flag('-f, --follow', 'go on with what comes'),
    tail: parsed('--tail <n>', 'only the last lines', wholeNumber(0, 1_000_000)),
  },
  run: async ({ args, options }, context) => {
    const ramet = await context.ramet()
    const vm = await resolveVm(ramet, args.vm, context.signal)
    const bytes = await vm.logs({
      follow: options.follow,
      signal: context.signal,
      ...(options.tail === undefined ? {} : { tail: options.tail }),
    })
    if (context.format !== 'json') {
      for await (const chunk of bytes) await write(context.io.stdout, chunk)
      return undefined
    }
    for await (const text of linesOf(bytes)) await line(context.io, JSON.stringify({ vm: vm.name, line: text }))
    return undefined
  },
})

async function* linesOf(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let open = ''
  for await (const chunk of bytes) {
    const lines = (open + decoder.decode(chunk, { stream: true })).split(/\r?\n/)
    open = lines.pop() ?? ''
    yield* lines
  }
  if (open !== '') yield open
}
