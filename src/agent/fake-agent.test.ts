import { FakeAgent } from './testing/fake/agent.ts'
import { commandSuite } from './testing/suite/commands.ts'
import { survivalSuite } from './testing/suite/survival.ts'
import { transferSuite } from './testing/suite/transfers.ts'

const start = () => FakeAgent.start()

commandSuite('fake agent', start)
survivalSuite('fake agent', start)
transferSuite('fake agent', start)
