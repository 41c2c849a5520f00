import type { DiskChain } from './chain.ts'
import { withPlainFile } from './files.ts'
import { naming } from './layer.ts'

export interface DiskUsage {
  /** what the disk's own file takes on the host */
  readonly privateBytes: number
  /** what the bases below it take, each shared with whatever else stands on it */
  readonly sharedBytes: number
  /** files in the chain, base included */
  readonly depth: number
  readonly virtualBytes: number
}

/**
 * What a disk takes, by the file system's account; right for a running vm too, whose tables are in
 * QEMU's memory. Extents shared by reflink count in each file that has them.
 */
export function diskUsage(chain: DiskChain): DiskUsage {
  const [top, ...bases] = chain.layers
  return {
    privateBytes: top.allocatedBytes,
    sharedBytes: bases.reduce((sum, base) => sum + base.allocatedBytes, 0),
    depth: chain.layers.length,
    virtualBytes: chain.virtualBytes,
  }
}

/** `privateBytes` alone, from one look at the file: for statistics that are taken often. */
export async function privateDiskBytes(path: string): Promise<number> {
  return naming(path, () => withPlainFile(path, 'read', async (handle) => (await handle.stat()).blocks * 512))
}
