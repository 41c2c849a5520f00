import { rm } from 'node:fs/promises'
import { assert } from '../shared/assert.ts'
import { backingName } from './backing-name.ts'
import type { DiskChain } from './chain.ts'
import { cloneDisk } from './clone.ts'
import { withPlainFile } from './files.ts'
import { runImageTool } from './image-tool.ts'
import { naming, readHeader } from './layer.ts'
import { rewriteHeader } from './qcow2/encode.ts'

export interface MergeRequest {
  readonly chain: DiskChain
  /** a name that is not yet anybody's, in a directory that only the daemon writes to; left unflushed */
  readonly target: string
  /** whether the lowest base stays what the result stands on; else the result stands alone */
  readonly keepLowest: boolean
  readonly signal?: AbortSignal | undefined
  readonly onPercent?: ((percent: number) => void) | undefined
}

/**
 * Writes one file that reads like a whole chain. The copying is QEMU's own tool's: it knows every form
 * that a cluster can have, explicit zeros over a base's data among them.
 */
export async function mergeLayers(request: MergeRequest): Promise<void> {
  const { chain, target, keepLowest, signal, onPercent } = request
  const top = chain.layers[0]
  const lowest = chain.layers.at(-1)
  assert(lowest !== undefined && lowest !== top, 'there is something to merge')
  await rm(target, { force: true })
  if (!keepLowest) {
    // -W: clusters may be written out of order; on a new file nobody can see it, and it is quicker
    const args = ['convert', '-p', '-W', '-f', 'qcow2', '-O', 'qcow2', top.path, target]
    await runImageTool(args, { signal, onPercent })
    return
  }
  // Not `convert -B`: it takes the base it is told to have the content of the source's own base, and
  // leaves out whatever lies between the two. `rebase` compares, and copies what differs.
  await cloneDisk({ from: top.path, to: target, reflink: true, signal })
  const name = backingName(target, lowest.path)
  await runImageTool(['rebase', '-p', '-f', 'qcow2', '-b', name, '-F', 'qcow2', target], { signal, onPercent })
  await nameBase(target, lowest.header.identity.own)
}

async function nameBase(path: string, base: string | undefined): Promise<void> {
  await naming(path, () =>
    withPlainFile(path, 'write', async (handle) => {
      const { header, start } = await readHeader(handle)
      const area = rewriteHeader(start, header, { identity: base === undefined ? {} : { base } })
      await handle.write(area, 0, area.length, 0)
    }),
  )
}
