import { after } from 'node:test'
import { BuiltAgent } from './testing/real-agent.ts'
import { commandSuite } from './testing/suite/commands.ts'
import { identitySuite } from './testing/suite/identity.ts'
import { survivalSuite } from './testing/suite/survival.ts'
import { terminalSuite } from './testing/suite/terminal.ts'
import { transferSuite } from './testing/suite/transfers.ts'

const agent = await BuiltAgent.build()
after(() => agent[Symbol.asyncDispose]())

const start = (directory: string) => agent.start(directory)

commandSuite('agent', start)
survivalSuite('agent', start)
terminalSuite('agent', start)
identitySuite('agent', start)
transferSuite('agent', start)
