import { pageBytes } from '../../memory/base.ts'
import { limits } from '../../shared/limits.ts'
import { blockEntryBytes, headerBytes } from './layout.ts'
import { localityBytes } from './locality-map.ts'
import type { CheckpointParts } from './write.ts'

/**
 * Bytes that a checkpoint file takes at most, when nothing in it can be compressed.
 *
 * @param storedPages that are neither zeros nor the base's, at most
 */
export function largestCheckpointBytes(parts: CheckpointParts, storedPages: number): number {
  const pageCount = parts.machine.memoryBytes / pageBytes
  const romBytes = parts.roms.reduce((sum, { data }) => sum + data.length, 0)
  // Smaller blocks than usual are more of them, and each has its entry.
  const blockBytes = storedPages * (pageBytes + blockEntryBytes)
  const hintBytes = parts.locality === undefined ? 0 : localityBytes(parts.locality)
  const indexBytes = 2 * Math.ceil(pageCount / 8) + 4 * storedPages + limits.checkpointManifestBytes
  return headerBytes + blockBytes + parts.deviceState.length + romBytes + hintBytes + indexBytes
}
