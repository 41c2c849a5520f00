import { RametError } from '../shared/errors.ts'
import { backingName } from './backing-name.ts'
import { createWhole, type FileOwner } from './files.ts'
import type { DiskLayer } from './layer.ts'
import { encodeEmptyDisk } from './qcow2/encode.ts'

export interface NewDiskRequest {
  readonly path: string
  /** a sealed base; without one the disk is blank */
  readonly base?: DiskLayer
  /** the base's size unless told; never less */
  readonly virtualBytes?: number
  readonly owner?: FileOwner | undefined
}

/**
 * Makes an empty delta over a base, or a blank disk. Durable when it returns.
 *
 * @throws RametError `INVALID_ARGUMENT` for a size below the base's, `IMAGE_INVALID` for one that no
 *   disk can have, `NO_SPACE`
 */
export async function createDisk(request: NewDiskRequest): Promise<void> {
  const { path, base, owner } = request
  const virtualBytes = request.virtualBytes ?? base?.header.virtualBytes ?? 0
  if (base !== undefined && virtualBytes < base.header.virtualBytes)
    throw new RametError('INVALID_ARGUMENT', {
      message: `a disk of ${virtualBytes} bytes is smaller than its base, of ${base.header.virtualBytes}`,
    })
  const { fileBytes, pieces } = encodeEmptyDisk({
    virtualBytes,
    ...(base === undefined ? {} : backingOf(path, base)),
  })
  await createWhole(path, { owner }, async (handle) => {
    for (const { offset, bytes } of pieces) await handle.write(bytes, 0, bytes.length, offset)
    // the rest stays a hole: a child that never writes takes three blocks
    await handle.truncate(fileBytes)
  })
}

function backingOf(path: string, base: DiskLayer) {
  // Over a delta that is itself over a base, it is that base that counts: the delta between is there for a while only.
  const own = base.header.identity.own ?? base.header.identity.base
  return {
    backing: { name: backingName(path, base.path), format: 'qcow2' },
    identity: own === undefined ? {} : { base: own },
  }
}
