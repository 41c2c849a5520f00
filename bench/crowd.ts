import { Vm } from '../src/client/index.ts'
import type { RunTools } from './fork-runs.ts'

export interface Crowd {
  asked: number
  /** answered their command with their own name */
  answered: number
  failures: string[]
  /** from the request until the last child was ready */
  allReadyMs: number
  /** from the request until the last child had answered its command */
  allAnsweredMs: number
  /** of all children together, once all had answered */
  guestPrivateBytes: number
  vmmBytes: number
}

/** Many children by one request, each of which must then say its own name. */
export async function measureCrowd({ template, say }: RunTools, childCount: number): Promise<Crowd> {
  say(`forking ${childCount} children at once`)
  const startMs = performance.now()
  const results = await template.fork({ count: childCount, namePrefix: 'crowd' })
  const allReadyMs = performance.now() - startMs
  const children = results.filter((result) => result instanceof Vm)
  const failures = results.flatMap((result) => (result instanceof Vm ? [] : [result.message]))
  try {
    say(`asking each of ${children.length} for its name`)
    const names = await Promise.all(
      children.map(async (child) => {
        const { stdout } = await child.commands.run(['hostname'])
        return stdout.trim() === child.name
      }),
    )
    const allAnsweredMs = performance.now() - startMs
    const crowd = { asked: childCount, answered: names.filter(Boolean).length, failures, allReadyMs, allAnsweredMs }
    let guestPrivateBytes = 0
    let vmmBytes = 0
    for (const child of children) {
      const { memory } = await child.stats()
      guestPrivateBytes += memory.privateBytes
      vmmBytes += memory.vmmBytes
    }
    return { ...crowd, guestPrivateBytes, vmmBytes }
  } finally {
    for (const child of children) await child.remove()
  }
}
