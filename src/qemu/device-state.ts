import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { readForeignFile } from './foreign-file.ts'
import { machineFiles } from './machine.ts'
import { extractDeviceBlob } from './migration-stream/device-blob.ts'
import type { QemuProcess } from './process.ts'
import type { ExecuteOptions } from './qmp.ts'
import { type RamBlock, readRamBlocks } from './ram-blocks.ts'

/** Everything of a stopped guest but its memory. */
export interface DeviceState {
  /** device sections, ready for `encodeStream` */
  readonly blob: Buffer
  /** blocks of the machine, for the stream's block list and for reading them from outside */
  readonly blocks: RamBlock[]
}

/**
 * Saves the devices of a stopped guest. The guest stays stopped and can be continued, and saved again,
 * as often as one likes. Its disks stay in service: the caller flushes what must be on them.
 *
 * @throws RametError `ILLEGAL_STATE` while the guest runs, `VMM_FAILED` when the file is not whole, `QMP_FAILED`
 */
export async function saveDeviceState(qemu: QemuProcess, options: ExecuteOptions = {}): Promise<DeviceState> {
  // QEMU would stop a running guest, save, and go on: memory and devices would be of two moments.
  if ((await qemu.runState()) === 'running')
    throw new RametError('ILLEGAL_STATE', { message: 'the guest must be stopped while its devices are saved' })
  const [blocks, blob] = await Promise.all([readRamBlocks(qemu.qmp), saveDeviceBlob(qemu, options)])
  return { blob, blocks }
}

/**
 * The device sections alone, for a caller that has just stopped the guest and knows the blocks already. The
 * command is sent before this returns, so it follows whatever was sent to QEMU before.
 *
 * @throws RametError `VMM_FAILED` when the file is not whole, `QMP_FAILED`
 */
export async function saveDeviceBlob(qemu: QemuProcess, options: ExecuteOptions = {}): Promise<Buffer> {
  const path = join(qemu.dir, machineFiles.deviceState)
  try {
    // A name relative to QEMU's working directory, which is the one place where its user may write. Not `live`:
    // that takes the disks out of service, and bringing them back reads their tables anew, on `cont`.
    const args = { filename: machineFiles.deviceState, live: false }
    await qemu.qmp.execute('xen-save-devices-state', args, options)
    return extractDeviceBlob(readForeignFile(path, limits.deviceStateBytes))
  } finally {
    rmSync(path, { force: true })
  }
}
