/** Entry of the command line. */
import process from 'node:process'

import { dispatch } from './dispatch.ts'
import { Interrupts } from './interrupts.ts'

const interrupts = new Interrupts((code) => process.exit(code))
process.on('SIGINT', () => interrupts.receive('SIGINT'))
process.on('SIGTERM', () => interrupts.receive('SIGTERM'))
// The reader of our output may leave, as `head` does: there is nobody to tell.
for (const stream of [process.stdout, process.stderr])
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0)
    throw error
  })

const code = await dispatch(process.argv.slice(2), {
  io: { stdin: process.stdin, stdout: process.stdout, stderr: process.stderr, env: process.env },
  interrupts,
  connect: async (globals, context) => await (await import('./connect.ts')).connectDaemon(globals, context),
})
// Whatever still holds the process (a socket on its way down) has nothing more to say.
process.exit(code)
