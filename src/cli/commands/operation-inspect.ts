import { defineCommand, required } from '../command.ts'
import { line } from '../io.ts'
import { resolveOperation } from '../resolve.ts'

export default defineCommand({
  description: 'Shows all that is known of an operation, its result or its error included, as JSON.',
  examples: [{ line: 'ramet operation inspect op-7h2k9c0qxz4m', does: 'Everything about it.' }],
  arguments: { operation: required('operation, by id', 'operation') },
  options: {},
  run: async ({ args }, context) => {
    const operation = await resolveOperation(await context.ramet(), args.operation, context.signal)
    await line(context.io, context.format === 'name' ? operation.id : JSON.stringify(operation, null, 2))
    return undefined
  },
})
