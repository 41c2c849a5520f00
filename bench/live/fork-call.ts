import { join } from 'node:path'
import { ForkRequest } from '../../src/api/fork.ts'
import { connect } from '../../src/client/connect.ts'
import { RametApiError, Vm } from '../../src/client/index.ts'
import { type ForkOptions, forkRaw } from '../../src/client/vm.ts'
import type { LiveTools } from './tools.ts'

export const ways = ['copy', 'background'] as const
/** copy: memory is copied in the pause · background: it is written out while the parent runs on */
export type Way = (typeof ways)[number]

/** One fork of a running vm, as its caller sees it. */
export interface LiveFork {
  children: Vm[]
  failures: string[]
  /** stages of the call and, with one child, of that child; milliseconds */
  timings: Record<string, number>
  /** stages of each child */
  childTimings: Record<string, number>[]
  startMs: number
  endMs: number
  /** what the daemon says of the capture, as it says it */
  capture: Record<string, unknown>
}

/** A way of capture that this daemon or host does not have. */
export class WayUnavailable extends Error {}

/** @throws WayUnavailable when the memory would not be captured in the way asked for */
export async function forkLive(
  tools: LiveTools,
  parent: Vm,
  options: { count?: number; way?: Way } = {},
): Promise<LiveFork> {
  const { count = 1, way } = options
  const transport = connect({ socketPath: join(tools.daemon.dataDir, 'ramet.sock'), signal: tools.signal })
  const startMs = performance.now()
  const result = await forkRaw(transport, `/v1/vms/${parent.id}/fork`, { count, ...captureOption(way) }).catch(
    (error: unknown) => {
      if (way !== 'copy' && way !== undefined && isRefusal(error)) throw new WayUnavailable(error.message)
      throw error
    },
  )
  const endMs = performance.now()
  const made = result.results.filter((child) => child.ok)
  const children = made.map(({ vm }) => new Vm(transport, vm))
  const failures = result.results.flatMap((child) => (child.ok ? [] : [child.error.detail]))
  const childTimings = made.map(({ timings }) => known(timings))
  const capture = captureOf(result)
  if (way !== undefined && capture.way !== undefined && capture.way !== way) {
    for (const child of children) await child.remove()
    throw new WayUnavailable(`${capture.why ?? `the daemon captured by ${capture.way} instead`}`)
  }
  const timings = { ...(count === 1 ? childTimings[0] : {}), ...known(result.timings), answeredMs: endMs - startMs }
  return { children, failures, timings, childTimings, startMs, endMs, capture }
}

/** The one child of a fork of one. */
export function onlyChild({ children, failures }: LiveFork): Vm {
  const [child] = children
  if (child === undefined) throw new Error(failures[0] ?? 'a fork answered no child')
  return child
}

/** Older daemons know one way only, and no word for it. */
function captureOption(way: Way | undefined): ForkOptions {
  if ('capture' in ForkRequest.shape) return way === undefined ? {} : ({ capture: way } as ForkOptions)
  if (way === 'background') throw new WayUnavailable('the daemon cannot capture in the background')
  return {}
}

function captureOf(result: object): Record<string, unknown> {
  return 'capture' in result ? (result.capture as Record<string, unknown>) : {}
}

function isRefusal(error: unknown): error is RametApiError {
  return error instanceof RametApiError && ['HOST_UNFIT', 'INVALID_ARGUMENT', 'NO_CAPACITY'].includes(error.code)
}

function known(timings: object): Record<string, number> {
  return Object.fromEntries(Object.entries(timings).filter(([, ms]) => typeof ms === 'number'))
}
