import type { Log } from '../../src/shared/log.ts'

/** One step of a build, for whoever waits for it. */
export interface ImageProgress {
  /** machine-readable name of the step: `kernel`, `agent`, `root`, `disk`, … */
  stage: string
  doneBytes?: number
  totalBytes?: number
  message: string
}

/** Where a build works and whom it tells. */
export interface BuildContext {
  /** finished images, a directory each */
  imagesDir: string
  /** what builds share and may be deleted at any time: downloaded packages, the logs of failed builds */
  cacheDir: string
  signal?: AbortSignal
  onProgress?: (progress: ImageProgress) => void
  log?: Log
  /** directory of the guest agent's sources and Makefile; default the one of this checkout */
  agentDir?: string
}
