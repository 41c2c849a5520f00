import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { race } from '../../deadline.ts'
import { AgentLink } from '../../link.ts'
import type { VersionRange } from '../../opening.ts'
import type { AgentSession } from '../../session.ts'
import { CuttingProxy } from '../cutting-proxy.ts'

/** An agent that the suite runs against. */
export interface AgentUnderTest extends AsyncDisposable {
  /** its socket */
  readonly path: string
}

export type StartAgent = (directory: string) => Promise<AgentUnderTest>

/** What a test of the suite has at hand; all of it is gone when the test is over. */
export interface SuiteContext {
  readonly test: TestContext
  readonly agentPath: string
  /** empty, for the files of the test; the same for host and agent */
  readonly directory: string
  open(versions?: VersionRange): Promise<AgentSession>
  closeLinks(): void
  /** a link whose first connections are cut after so many bytes each */
  cutLink(cutAfterBytes: readonly number[]): Promise<{ link: AgentLink; proxy: CuttingProxy }>
}

/** Registers one test with a fresh agent. */
export function agentTest(name: string, start: StartAgent, run: (context: SuiteContext) => Promise<void>): void {
  test(name, { timeout: 60_000 }, async (testContext) => {
    await using stack = new AsyncDisposableStack()
    const directory = await mkdtemp(join(tmpdir(), 'ramet-agent-'))
    stack.defer(() => rm(directory, { recursive: true, force: true }))
    const agent = stack.use(await start(directory))
    const links: AgentLink[] = []
    const closeLinks = () => {
      for (const link of links.splice(0)) link.close()
    }
    stack.defer(closeLinks)
    const running = run({
      closeLinks,
      test: testContext,
      agentPath: agent.path,
      directory,
      open: (versions) => {
        const link = new AgentLink({ path: agent.path, ...(versions && { versions }) })
        links.push(link)
        return link.openSession({ schedule: [250] })
      },
      cutLink: async (cutAfterBytes) => {
        const proxy = stack.use(await CuttingProxy.listen(join(directory, 'proxy.sock'), agent.path, cutAfterBytes))
        const link = new AgentLink({ path: proxy.path })
        stack.defer(() => link.close())
        return { link, proxy }
      },
    })
    // A test that takes too long still cleans up behind itself.
    await race(running, testContext.signal)
  })
}
