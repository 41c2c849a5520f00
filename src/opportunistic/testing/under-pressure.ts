import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { prepareHierarchies, readHostCgroups } from '../../host/cgroup-hierarchies.ts'
import { openCgroups } from '../../host/cgroups.ts'
import type { StressOptions, StressResult } from './stress.ts'

export interface PressureResult {
  result: StressResult
  /** processes that the kernel killed for want of memory */
  oomKillCount: number
}

/**
 * Runs a stress in a process whose control group has less memory than it uses, so that the kernel takes pages because it
 * needs them.
 *
 * @returns undefined where no limit can be set
 */
export async function stressWithin(limitBytes: number, options: StressOptions): Promise<PressureResult | undefined> {
  const hierarchies = prepareHierarchies(readHostCgroups(), `ramet-stress-${process.pid}`)
  const driver = openCgroups({ hierarchies })
  const group = 'stress'
  try {
    if (!driver.controllers.includes('memory')) return undefined
    driver.create(group, { memoryMaxBytes: limitBytes })
    const program = fileURLToPath(new URL('./stress-main.ts', import.meta.url))
    const child = spawn(process.execPath, [program, JSON.stringify(options)], { stdio: ['pipe', 'pipe', 'inherit'] })
    driver.add(group, child.pid ?? 0)
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
    child.stdin.write('\n')
    const [code, signal] = await once(child, 'close')
    const { oomKillCount } = driver.usage(group)
    if (code !== 0)
      throw new Error(`the stress ended with ${code ?? signal}; ${oomKillCount} killed for want of memory`)
    return { result: JSON.parse(output) as StressResult, oomKillCount }
  } finally {
    await driver.remove(group)
    for (const { directory } of hierarchies) rmdirSync(directory)
  }
}
