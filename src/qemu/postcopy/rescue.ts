/**
 * A way to a QEMU whose main thread waits for a page that nobody sends, for a daemon that has never spoken to it.
 *
 * Such a QEMU takes only commands that go past its main thread, and those only on a connection whose capabilities are
 * agreed on already, which takes the main thread. So one is made while all is well, and QEMU itself keeps our end of
 * it: whoever comes later takes it out of there.
 */
import { closeSync, fstatSync } from 'node:fs'
import { Socket } from 'node:net'
import { join } from 'node:path'
import { descriptorOf, requirePeer } from '../../host/peer.ts'
import type { ProcessIdentity } from '../../host/process-identity.ts'
import { takeSocket } from '../../host/take-descriptor.ts'
import { limits } from '../../shared/limits.ts'
import { machineFiles } from '../machine.ts'
import type { QemuProcess } from '../process.ts'
import { QmpClient } from '../qmp.ts'
import { connectSocket } from '../qmp-connect.ts'

const descriptorName = 'rescue'

/**
 * Has a QEMU that is about to be restored keep a way to it.
 *
 * @returns what `takeRescue` needs to find it
 * @throws RametError `QMP_FAILED`, `VMM_FAILED`
 */
export async function leaveRescue(qemu: QemuProcess, signal?: AbortSignal): Promise<string> {
  const path = join(qemu.dir, machineFiles.rescue)
  const socket = await connectSocket(path, { timeoutMs: limits.qmpConnectTimeoutMs, signal })
  let client: QmpClient | undefined
  try {
    requirePeer(socket, qemu.identity, path)
    client = await QmpClient.open(socket, { signal })
    const descriptor = descriptorOf(socket)
    const { ino } = fstatSync(descriptor, { bigint: true })
    await qemu.qmp.execute('getfd', { fdname: descriptorName }, { descriptor, signal })
    return ino.toString()
  } finally {
    // Ours; the connection stays, since QEMU has it.
    client?.close()
    socket.destroy()
  }
}

/** It is needed no more, and would only gather events that nobody reads. */
export async function endRescue(qmp: QmpClient): Promise<void> {
  await qmp.execute('closefd', { fdname: descriptorName })
}

/**
 * The way that was left in a QEMU. Only what is sent past its main thread is sure to be answered.
 *
 * @param rescue from `leaveRescue`
 * @returns undefined when it is not there
 * @throws ErrnoError `EPERM`
 */
export function takeRescue(identity: ProcessIdentity, rescue: string): QmpClient | undefined {
  const fd = takeSocket(identity, BigInt(rescue))
  if (fd === undefined) return undefined
  try {
    return QmpClient.resume(new Socket({ fd }))
  } catch (error) {
    closeSync(fd)
    throw error
  }
}
