import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { readForeignFile } from './foreign-file.ts'
import { machineFiles } from './machine.ts'
import type { PageRun } from './migration-stream/encode.ts'
import type { QemuProcess } from './process.ts'
import type { ExecuteOptions } from './qmp.ts'
import type { RamBlock } from './ram-blocks.ts'

/** The firmware's block. It ends where the first 4 GiB of the guest's address space end. */
const firmwareBlock = 'pc.bios'
const firmwareEndAddress = 2 ** 32

/**
 * The ROM contents that every stream must carry. A QEMU that waits for an incoming guest leaves its
 * firmware empty: a child without these pages runs until it first jumps into the firmware, which is at
 * its next reboot. They never change during the life of a vm, so they may be read at any time, also
 * while the guest runs.
 *
 * @throws RametError `QMP_FAILED`, `VMM_FAILED` when QEMU wrote something else
 */
export async function readRomPages(
  qemu: QemuProcess,
  blocks: readonly RamBlock[],
  options: ExecuteOptions = {},
): Promise<PageRun[]> {
  const sizeBytes = blocks.find((block) => block.name === firmwareBlock)?.usedBytes
  if (sizeBytes === undefined || sizeBytes > limits.romBytes)
    throw new RametError('VMM_FAILED', { message: `no usable ${firmwareBlock} among QEMU's RAM blocks` })
  const path = join(qemu.dir, machineFiles.rom)
  try {
    const args = { val: firmwareEndAddress - sizeBytes, size: sizeBytes, filename: machineFiles.rom }
    await qemu.qmp.execute('pmemsave', args, options)
    const data = readForeignFile(path, limits.romBytes)
    if (data.length !== sizeBytes) throw new RametError('VMM_FAILED', { message: 'QEMU wrote half a firmware' })
    return [{ block: firmwareBlock, offsetBytes: 0, data }]
  } finally {
    await rm(path, { force: true })
  }
}
