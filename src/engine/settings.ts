import { homedir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'

/** Where this installation keeps things, and as whom it runs. */
export interface EngineSettings {
  /** everything that must outlive the daemon */
  dataDir: string
  /** where images lie that several data directories share; absent: each has its own */
  sharedImagesDir?: string
  /** what can be had again: kernel packages, probe verdicts */
  cacheDir: string
  /** QEMU processes kept started ahead for a template that does not say */
  defaultArmed: number
}

type Environment = Readonly<Record<string, string | undefined>>

/**
 * Settings from the environment and the user. As root the data directory is the system's; else it is
 * the user's own.
 */
export function resolveSettings(
  flags: { dataDir?: string } = {},
  environment: Environment = process.env,
  uid: number = process.getuid?.() ?? 0,
): EngineSettings {
  const home = environment.HOME ?? homedir()
  const dataHome = environment.XDG_DATA_HOME ?? join(home, '.local', 'share')
  const cacheHome = environment.XDG_CACHE_HOME ?? join(home, '.cache')
  const dataDir =
    flags.dataDir ?? environment.RAMET_DATA_DIR ?? (uid === 0 ? '/var/lib/ramet' : join(dataHome, 'ramet'))
  return {
    dataDir,
    ...(environment.RAMET_IMAGES_DIR === undefined ? {} : { sharedImagesDir: environment.RAMET_IMAGES_DIR }),
    cacheDir: environment.RAMET_CACHE_DIR ?? (uid === 0 ? '/var/cache/ramet' : join(cacheHome, 'ramet')),
    defaultArmed: 1,
  }
}
