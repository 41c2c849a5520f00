import { constants } from 'node:fs'
import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
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
    return { blob: extractDeviceBlob(await readForeignFile(path)), blocks }
  } finally {
    await rm(path, { force: true })
  }
}

/** The file lies in a directory that another user owns: no link is followed, no size believed. */
async function readForeignFile(path: string): Promise<Buffer> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    const stat = await file.stat()
    if (!stat.isFile() || stat.size > limits.deviceStateBytes)
      throw new RametError('VMM_FAILED', { message: `QEMU saved no usable device state (${stat.size} bytes)` })
    const buffer = Buffer.alloc(stat.size)
    const { bytesRead } = await file.read(buffer, 0, buffer.length, 0)
    return buffer.subarray(0, bytesRead)
  } finally {
    await file.close()
  }
}
