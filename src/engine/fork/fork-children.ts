import type { ForkedChild, ForkRequest } from '../../api/fork.ts'
import { toProblem } from '../../api/problem.ts'
import type { Timings } from '../../api/timings.ts'
import { requireSpace } from '../../disk/space.ts'
import { asRametError, RametError } from '../../shared/errors.ts'
import { checkName, inventName } from '../../shared/ids.ts'
import { limits } from '../../shared/limits.ts'
import type { EngineContext } from '../context.ts'
import { inParallel } from '../mutex.ts'
import type { OperationHandle } from '../operations.ts'
import { isServerLost } from '../restore/restores.ts'
import { removeVm } from '../vm/vm-actions.ts'
import { vmView } from '../vm/vm-view.ts'
import { type ChildRequest, type ForkedGuest, forkChild } from './fork-child.ts'
import type { ForkParts } from './fork-parts.ts'
import type { ForkSource } from './fork-source.ts'

/** Children to make of one source. */
export interface ForkOrder {
  source: ForkSource
  request: ChildRequest & Pick<ForkRequest, 'atomic' | 'wait'>
  /** one for each */
  names: readonly string[]
  /** when the request came, on the monotonic clock */
  requestedAtMs: number
}

/**
 * Makes children, a few at a time. One that fails takes nobody along, unless all are wanted or none.
 *
 * @returns one result each, in order
 * @throws RametError `NO_SPACE`, `FORK_INCOMPLETE`, `CANCELLED`; nothing is left then
 */
export async function forkAll(
  parts: ForkParts,
  order: ForkOrder,
  handle: OperationHandle,
): Promise<{ results: ForkedChild[]; timings: Timings }> {
  const { names, request, requestedAtMs } = order
  let done = 0
  await requireSpace(parts.context.paths.dataDir, limits.diskActionBytes, `a fork of ${names.length}`)
  const results = await inParallel(names, limits.forkParallelCount, async (name, forkIndex) => {
    const result = await forkOne(parts, order, { name, forkIndex }, handle)
    done += 1
    const message = `${done} of ${names.length} children`
    handle.progress({ stage: 'forking', fraction: done / names.length, message })
    return result
  })
  const timings: Timings = { totalMs: performance.now() - requestedAtMs }
  if (request.atomic && results.some((result) => !result.ok)) await undo(parts, results)
  // What was cancelled under way failed child by child; the call as a whole was cancelled.
  if (results.every((result) => !result.ok)) handle.signal.throwIfAborted()
  return { results, timings }
}

async function forkOne(
  parts: ForkParts,
  order: ForkOrder,
  child: { name: string; forkIndex: number },
  handle: OperationHandle,
): Promise<ForkedChild> {
  const { context } = parts
  try {
    const forked = await forkSurely(parts, order, child, handle)
    if (order.request.wait === 'ready') await forked.ready
    measure(context, forked)
    return { ok: true, vm: vmView(context.vms.find(forked.vmId)), timings: { ...forked.timings } }
  } catch (error) {
    return { ok: false, name: child.name, error: toProblem(asRametError(error)) }
  }
}

/** A page server that dies before the guest is there takes QEMU with it: then the whole child is begun again. */
async function forkSurely(
  parts: ForkParts,
  { source, request, requestedAtMs }: ForkOrder,
  child: { name: string; forkIndex: number },
  handle: OperationHandle,
): Promise<ForkedGuest> {
  for (let attempt = 1; ; attempt += 1) {
    handle.signal.throwIfAborted()
    // Again when it is recorded; but here it costs no process.
    parts.context.vms.checkFree(child.name)
    try {
      return await forkChild(parts, { source, request, requestedAtMs, ...child }, handle)
    } catch (error) {
      if (!isServerLost(error) || attempt >= limits.restoreAttemptCount) throw error
      parts.context.log.warn({ vm: child.name, attempt }, 'a restore is begun again: its page server has ended')
    }
  }
}

function measure(context: EngineContext, { timings }: ForkedGuest): void {
  for (const [stage, ms] of Object.entries(timings))
    if (ms !== undefined) context.measure({ kind: 'fork-stage', stage: stage.replace(/Ms$/, ''), ms })
}

/** All or none: the children that were made are removed again. */
async function undo(parts: ForkParts, results: readonly ForkedChild[]): Promise<never> {
  const made = results.flatMap((result) => (result.ok ? [result.vm.id] : []))
  await inParallel(made, limits.forkParallelCount, (id) =>
    parts.runtimes.exclusively(id, async () => {
      // A child that was not waited for may have failed and gone by itself.
      if (parts.context.vms.get(id) !== undefined) await removeVm(parts, id, true)
    }),
  )
  const failed = results.filter((result) => !result.ok)
  const [first] = failed
  const why = first?.ok === false ? `: ${first.error.detail}` : ''
  throw new RametError('FORK_INCOMPLETE', {
    message: `${failed.length} of ${results.length} children could not be made, so none was kept${why}`,
    details: { results: failed },
  })
}

/**
 * A port of the host can be had once only.
 *
 * @throws RametError `INVALID_ARGUMENT`
 */
export function checkPorts(names: readonly string[], ports: ForkRequest['ports']): void {
  const fixed = ports.find(({ hostPort }) => hostPort !== undefined)
  if (names.length < 2 || fixed === undefined) return
  throw new RametError('INVALID_ARGUMENT', {
    message: `port ${fixed.hostPort} of the host cannot be published by ${names.length} vms`,
    remediation: `Leave the port of the host out, \`-p ${fixed.guestPort}\`, and each gets a free one: \`ramet port NAME\` shows it.`,
    details: { hostPort: fixed.hostPort },
  })
}

/**
 * A name that is taken fails its own child, unless all are wanted or none.
 *
 * @param parent whose name theirs are made of, where there is no prefix
 * @throws RametError `NAME_TAKEN`, `INVALID_NAME`
 */
export function childNames(
  { vms, random }: EngineContext,
  parent: { name: string },
  request: Pick<ForkRequest, 'names' | 'namePrefix' | 'count' | 'atomic'>,
): string[] {
  if (request.names !== undefined) {
    if (request.atomic || request.count === 1) for (const name of request.names) vms.checkFree(name)
    return request.names
  }
  if (request.namePrefix === undefined && request.count === 1) return [inventName(random)]
  const prefix = request.namePrefix ?? parent.name
  const names: string[] = []
  for (let number = 0; names.length < request.count; number += 1) {
    const name = checkName(`${prefix}-${number}`)
    if (!vms.nameTaken(name)) names.push(name)
  }
  return names
}
