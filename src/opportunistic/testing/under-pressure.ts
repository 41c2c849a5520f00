import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { prepareHierarchies, readHostCgroups } from '../../host/cgroup-hierarchies.ts'
import { openCgroups } from '../../host/cgroups.ts'
import type { StressOptions, StressResult } from './stress.ts'

export interface PressureResult<T> {
  result: T
  /** processes that the kernel killed for want of memory */
  oomKillCount: number
}

/** Runs a stress whose process has less memory than it uses, so that the kernel takes pages because it needs them. */
export function stressWithin(
  limitBytes: number,
  options: StressOptions,
): Promise<PressureResult<StressResult> | undefined> {
  return runWithin(limitBytes, 'stress-main.ts', options)
}

export interface CacheWithin {
  kind: string
  roomBytes: number
  warnings: string[]
}

/** Opens and fills a cache in a process with so much memory. */
export function openWithin(
  limitBytes: number,
  options: { capacityBytes: number; blockBytes: number },
): Promise<PressureResult<CacheWithin> | undefined> {
  return runWithin(limitBytes, 'cache-main.ts', options)
}

/**
 * Runs a program of this directory in a control group of its own. It begins at a line on its input, and tells its result as JSON.
 *
 * @returns undefined where no limit can be set
 */
async function runWithin<T>(limitBytes: number, name: string, options: object): Promise<PressureResult<T> | undefined> {
  const hierarchies = prepareHierarchies(readHostCgroups(), `ramet-stress-${process.pid}`)
  const driver = openCgroups({ hierarchies })
  const group = 'stress'
  try {
    if (!driver.controllers.includes('memory')) return undefined
    driver.create(group, { memoryMaxBytes: limitBytes })
    const program = fileURLToPath(new URL(name, import.meta.url))
    const child = spawn(process.execPath, [program, JSON.stringify(options)], { stdio: ['pipe', 'pipe', 'inherit'] })
    driver.add(group, child.pid ?? 0)
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
    child.stdin.write('\n')
    const [code, signal] = await once(child, 'close')
    const { oomKillCount } = driver.usage(group)
    if (code !== 0) throw new Error(`it ended with ${code ?? signal}; ${oomKillCount} killed for want of memory`)
    return { result: JSON.parse(output) as T, oomKillCount }
  } finally {
    await driver.remove(group)
    for (const { directory } of hierarchies) rmdirSync(directory)
  }
}
