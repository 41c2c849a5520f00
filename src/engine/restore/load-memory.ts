import { loadCheckpoint } from '../../checkpoint/load/load-base.ts'
import { encodeStream } from '../../qemu/migration-stream/encode.ts'
import { newId } from '../../shared/ids.ts'
import type { OperationHandle } from '../operations.ts'
import type { EngineParts } from '../parts.ts'

/** The memory of a checkpoint, loaded for good. `release` once whoever maps it has a record. */
export interface LoadedMemory {
  baseId: string
  /** what a QEMU that maps it loads beside it */
  stream: () => Iterable<Buffer>
  release(): Promise<void>
}

/**
 * Loads a whole checkpoint into a base, which stays for as long as a vm maps it.
 *
 * @throws RametError as `loadCheckpoint`; nothing is left then
 */
export async function loadMemory(
  parts: Pick<EngineParts, 'bases' | 'context'>,
  of: { path: string; digest: string; base?: { path: string; id: string }; what: string },
  handle: Pick<OperationHandle, 'progress' | 'signal'>,
): Promise<LoadedMemory> {
  const { what, ...file } = of
  const { base, stream } = await loadCheckpoint({
    ...file,
    id: newId('base', parts.context.random),
    signal: handle.signal,
    onProgress: (doneBytes, totalBytes) =>
      handle.progress({ stage: 'loading', doneBytes, totalBytes, message: `loading the memory of ${what}` }),
  })
  const held = parts.bases.hold(base.id)
  const release = async () => {
    held[Symbol.dispose]()
    await parts.bases.sweep()
  }
  try {
    await parts.bases.adopt(base)
  } catch (error) {
    await release()
    throw error
  }
  return { baseId: base.id, stream: () => encodeStream(stream), release }
}
