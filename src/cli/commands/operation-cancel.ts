import { defineCommand, restRequired } from '../command.ts'
import { eachOf } from '../each-vm.ts'
import { resolveOperation } from '../resolve.ts'

export default defineCommand({
  description:
    'Asks operations to end. They undo what they have done so far; that may take a moment. One that is over is refused.',
  examples: [{ line: 'ramet operation cancel op-7h2k9c0qxz4m', does: 'Cancels it.' }],
  arguments: { operation: restRequired('operations, by id', 'operation') },
  options: {},
  run: async ({ args }, context) => {
    const ramet = await context.ramet()
    const things: { name: string; info: object }[] = []
    for (const text of args.operation) {
      const operation = await resolveOperation(ramet, text, context.signal)
      things.push({ name: operation.id, info: operation })
    }
    return await eachOf(context, things, 'cancelling', async (thing) => {
      thing.info = await ramet.operations.cancel(thing.name)
    })
  },
})
