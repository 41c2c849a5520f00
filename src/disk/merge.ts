import { rm } from 'node:fs/promises'
import { dirname, relative, resolve } from 'node:path'
import { assert } from '../shared/assert.ts'
import type { DiskChain } from './chain.ts'
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
  const name = relative(dirname(resolve(target)), resolve(lowest.path))
  await rm(target, { force: true })
  const backing = keepLowest ? ['-B', name, '-F', 'qcow2'] : []
  // -W: clusters may be written out of order; on a new file nobody can see it, and it is quicker
  await runImageTool(['convert', '-p', '-W', '-f', 'qcow2', '-O', 'qcow2', ...backing, top.path, target], {
    signal,
    onPercent,
  })
  if (keepLowest) await nameBase(target, name, lowest.header.identity.own)
}

async function nameBase(path: string, name: string, base: string | undefined): Promise<void> {
  await naming(path, () =>
    withPlainFile(path, 'write', async (handle) => {
      const { header, start } = await readHeader(handle)
      const identity = base === undefined ? {} : { base }
      const area = rewriteHeader(start, header, { identity, backing: { name, format: 'qcow2' } })
      await handle.write(area, 0, area.length, 0)
    }),
  )
}
