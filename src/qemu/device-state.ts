import { rm } from 'node:fs/promises'
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
 * as often as one likes.
 *
 * @throws RametError `ILLEGAL_STATE` while the guest runs, `VMM_FAILED` when the file is not whole, `QMP_FAILED`
 */
export async function saveDeviceState(qemu: QemuProcess, options: ExecuteOptions = {}): Promise<DeviceState> {
  // QEMU would stop a running guest, save, and go on: memory and devices would be of two moments.
  if ((await qemu.runState()) === 'running')
    throw new RametError('ILLEGAL_STATE', { message: 'the guest must be stopped while its devices are saved' })
  const path = join(qemu.dir, machineFiles.deviceState)
  try {
    // A name relative to QEMU's working directory, which is the one place where its user may write.
    const args = { filename: machineFiles.deviceState, live: true }
    const saved = qemu.qmp.execute('xen-save-devices-state', args, options)
    const [blocks] = await Promise.all([readRamBlocks(qemu.qmp), saved])
    return { blob: extractDeviceBlob(await readForeignFile(path, limits.deviceStateBytes)), blocks }
  } finally {
    await rm(path, { force: true })
  }
}
