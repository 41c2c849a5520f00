import { homedir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'

export const isRoot = process.getuid?.() === 0

/** Where images are kept from one run of the tests to the next; the same place as everywhere else. */
export const cacheDirectory =
  process.env.RAMET_CACHE_DIR ??
  (isRoot ? '/var/cache/ramet' : join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'ramet'))

/** What a daemon or a command line of the tests finds in its environment: only its own data directory. */
export function environmentOf(dataDir: string): NodeJS.ProcessEnv {
  const { RAMET_API_URL: _url, RAMET_API_KEY: _key, RAMET_FAULT: _fault, RAMET_HTTP: _http, ...inherited } = process.env
  return {
    ...inherited,
    PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin`,
    RAMET_DATA_DIR: dataDir,
    RAMET_CACHE_DIR: cacheDirectory,
    RAMET_IMAGES_DIR: join(cacheDirectory, 'images'),
    NO_COLOR: '1',
  }
}
