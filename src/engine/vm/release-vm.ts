import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { JournalEntry } from '../../cluster/journal.ts'
import { removeNetworkGroup } from '../../host/network-group.ts'
import { isIdentity, isRunning, type ProcessIdentity, signalProcess, waitForExit } from '../../host/process-identity.ts'
import { processesIn } from '../../host/processes-in.ts'
import { userNetworksOf } from '../../qemu/user-network.ts'
import { RametError } from '../../shared/errors.ts'
import { faultPoint } from '../../shared/fault.ts'
import type { EngineContext } from '../context.ts'

/** Ends processes that are known, and waits until they have. */
export async function endProcesses(identities: readonly ProcessIdentity[]): Promise<void> {
  for (const identity of identities) if (isRunning(identity)) signalProcess(identity, 'SIGKILL')
  await Promise.all(identities.map((identity) => waitForExit(identity)))
}

/**
 * Ends all that runs for a vm, known or not: whatever works in its directory is its own, and so is its passt. Then the
 * journal has nothing more to say about processes of this vm.
 */
export async function endAllOf(context: EngineContext, vmId: string): Promise<number> {
  const dir = context.paths.vm(vmId)
  const found = [...processesIn(dir), ...userNetworksOf(dir)]
  // A passt ends by itself with its QEMU; one that is just about to is not found by name any more.
  const ending = [...(context.vms.get(vmId)?.helpers ?? []), ...networksIn(context.journal.openOf(vmId))]
  await endProcesses([...found, ...ending])
  if (found.length > 0 || ending.length > 0) await removeNetworkGroup()
  const entries = context.journal.openOf(vmId)
  if (entries.some((entry) => entry.kind === 'cgroup')) await context.cgroups.remove(vmId)
  context.journal.release(
    entries.filter((entry) => entry.kind !== 'directory' && entry.kind !== 'file').map((entry) => entry.id),
  )
  return found.length
}

/** User networks that the journal knows and no record yet. */
function networksIn(entries: readonly JournalEntry[]): ProcessIdentity[] {
  return entries.flatMap(({ kind, ident }) => (kind === 'network' && isIdentity(ident) ? [ident] : []))
}

/** Removes a vm's directory, and with it its disks. Nothing of it runs any more. */
export async function removeDirectory(context: EngineContext, vmId: string): Promise<void> {
  faultPoint('remove.directory')
  try {
    // A vm's user owns this directory; no link in it is followed, since `rm` unlinks links.
    await rm(context.paths.vm(vmId), { recursive: true, force: true })
    await rm(join(context.paths.consolesDir, vmId), { recursive: true, force: true })
  } catch (error) {
    throw new RametError('INTERNAL', { message: `the directory of ${vmId} could not be removed`, cause: error })
  }
  context.journal.release(context.journal.openOf(vmId).map((entry) => entry.id))
}
