import { resolve } from 'node:path'
import type { QemuProcess } from '../qemu/process.ts'

interface BlockNode {
  'node-name'?: string
  drv?: string
  file?: string
  ro?: boolean
  backing_file?: string
}

/** All nodes that a QEMU has, as it describes them. */
function nodesOf(qemu: QemuProcess): Promise<BlockNode[]> {
  return qemu.qmp.execute<BlockNode[]>('query-named-block-nodes', { flat: true })
}

/** QEMU opens what a disk stands on by itself, and gives it a name of its own making. @throws RametError `VMM_FAILED` */
export async function nodeOfFile(qemu: QemuProcess, path: string): Promise<string> {
  const node = (await nodesOf(qemu)).find(
    ({ drv, file }) => drv === 'qcow2' && file !== undefined && resolve(qemu.dir, file) === path,
  )
  const name = node?.['node-name']
  if (name === undefined) throw qemu.failure(`QEMU has no node for the base ${path}`)
  return name
}

/**
 * Has QEMU let go of its right to write to a delta that others are to read. A commit into it that was cancelled, or
 * failed, leaves QEMU (7.2) with that right, whose lock no other QEMU that reads the delta gets past.
 *
 * @param name of the delta's node; that of its file is the same with `-file`
 */
export async function stopWriting(qemu: QemuProcess, name: string): Promise<void> {
  const node = (await nodesOf(qemu)).find((candidate) => candidate['node-name'] === name)
  if (node?.ro !== false) return
  const backing = node.backing_file === undefined ? undefined : resolve(qemu.dir, node.backing_file)
  const options = {
    driver: 'qcow2',
    'node-name': name,
    'read-only': true,
    discard: 'unmap',
    file: `${name}-file`,
    ...(backing === undefined ? {} : { backing: await nodeOfFile(qemu, backing) }),
  }
  await qemu.qmp.execute('blockdev-reopen', { options: [options] })
}
