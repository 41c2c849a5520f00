import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { parse } from 'smol-toml'
import { z } from 'zod'
import { blockCacheVariable } from '../checkpoint/serve/block-cache-size.ts'
import { type PolicyName, policyNames } from '../checkpoint/serve/protocol.ts'
import { errnoOf, RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'

/** Where this installation keeps things, and how its daemon serves. */
export interface EngineSettings {
  /** everything that must outlive the daemon */
  dataDir: string
  /** where images lie that several data directories share; absent: each has its own */
  sharedImagesDir?: string
  /** what can be had again: kernel packages, probe verdicts */
  cacheDir: string
  /** loopback port of the HTTP face; absent: unix socket only */
  httpPort?: number
  logLevel: string
  /** rate of one collapse of a disk in the background */
  collapseBytesPerSecond: number
  /** none: of a vm that is restored, only what it needs is fetched, until something needs all of it */
  restoreFill: 'paced' | 'none'
  /** what comes along with a page that a vm waits for, unless its restore says otherwise */
  restorePolicy: PolicyName
  /** what the page server's cache of decompressed memory may fill; absent: a part of the host's memory */
  blockCacheMiB?: number
  /** memory of the host that starts of vms leave free; absent: some of it, by the host's size */
  memoryReserveBytes?: number
}

/** What the command line may say; the strongest. */
export interface SettingsFlags {
  dataDir?: string | undefined
  http?: string | undefined
  logLevel?: string | undefined
}

const settingsFile = 'ramet.toml'

const CollapseRate = z
  .int()
  .min(1)
  .max(1024 * 1024)

const MemoryReserve = z.int().min(0).max(limits.hostReserveMaxMiB)

const RestoreFill = z.enum(['paced', 'none'])
const RestorePolicy = z.enum(policyNames)

const BlockCacheSize = z.int().min(1).max(limits.pageServerCacheMaxMiB)

const FileSettings = z.strictObject({
  cache_dir: z.string().startsWith('/').optional(),
  images_dir: z.string().startsWith('/').optional(),
  http: z.int().min(0).max(65535).optional(),
  collapse_mib_per_second: CollapseRate.optional(),
  restore_fill: RestoreFill.optional(),
  restore_policy: RestorePolicy.optional(),
  block_cache_mib: BlockCacheSize.optional(),
  memory_reserve_mib: MemoryReserve.optional(),
  log_level: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal']).optional(),
})
type FileSettings = z.infer<typeof FileSettings>

type Environment = Readonly<Record<string, string | undefined>>

/**
 * Settings by precedence: flag, environment, `ramet.toml` in the data directory, default. As root the data
 * directory is the system's; else it is the user's own.
 *
 * @throws RametError `INVALID_ARGUMENT` naming the setting and where it was found
 */
export function resolveSettings(
  flags: SettingsFlags = {},
  environment: Environment = process.env,
  uid: number = process.getuid?.() ?? 0,
): EngineSettings {
  const home = environment.HOME ?? homedir()
  const dataHome = environment.XDG_DATA_HOME ?? join(home, '.local', 'share')
  const cacheHome = environment.XDG_CACHE_HOME ?? join(home, '.cache')
  const dataDir =
    flags.dataDir ?? environment.RAMET_DATA_DIR ?? (uid === 0 ? '/var/lib/ramet' : join(dataHome, 'ramet'))
  const file = readSettingsFile(join(dataDir, settingsFile))
  const http = flags.http ?? environment.RAMET_HTTP
  const httpPort = http === undefined ? file.http : portOf(http)
  const blockCacheMiB = blockCacheSize(environment) ?? file.block_cache_mib
  const sharedImagesDir = environment.RAMET_IMAGES_DIR ?? file.images_dir
  const memoryReserveBytes = memoryReserve(environment, file)
  return {
    dataDir,
    cacheDir:
      environment.RAMET_CACHE_DIR ?? file.cache_dir ?? (uid === 0 ? '/var/cache/ramet' : join(cacheHome, 'ramet')),
    collapseBytesPerSecond: collapseRate(environment, file),
    restoreFill: restoreFill(environment, file),
    restorePolicy: restorePolicy(environment, file),
    logLevel: flags.logLevel ?? environment.RAMET_LOG_LEVEL ?? file.log_level ?? 'info',
    ...(httpPort === undefined ? {} : { httpPort }),
    ...(blockCacheMiB === undefined ? {} : { blockCacheMiB }),
    ...(sharedImagesDir === undefined ? {} : { sharedImagesDir }),
    ...(memoryReserveBytes === undefined ? {} : { memoryReserveBytes }),
  }
}

function collapseRate(environment: Environment, file: FileSettings): number {
  const text = environment.RAMET_COLLAPSE_MIB_PER_SECOND
  if (text === undefined) return (file.collapse_mib_per_second ?? limits.diskCollapseMiBPerSecond) * 1024 * 1024
  const rate = CollapseRate.safeParse(/^\d+$/.test(text) ? Number(text) : text)
  if (rate.success) return rate.data * 1024 * 1024
  throw new RametError('INVALID_ARGUMENT', {
    message: `RAMET_COLLAPSE_MIB_PER_SECOND: “${text}” is not a rate in MiB/s`,
  })
}

function memoryReserve(environment: Environment, file: FileSettings): number | undefined {
  const text = environment.RAMET_MEMORY_RESERVE_MIB
  if (text === undefined)
    return file.memory_reserve_mib === undefined ? undefined : file.memory_reserve_mib * 1024 * 1024
  const reserve = MemoryReserve.safeParse(/^\d+$/.test(text) ? Number(text) : text)
  if (reserve.success) return reserve.data * 1024 * 1024
  throw new RametError('INVALID_ARGUMENT', {
    message: `RAMET_MEMORY_RESERVE_MIB: “${text}” is not a number of MiB`,
  })
}

function restoreFill(environment: Environment, file: FileSettings): EngineSettings['restoreFill'] {
  const text = environment.RAMET_RESTORE_FILL
  const fill = RestoreFill.safeParse(text ?? file.restore_fill ?? 'paced')
  if (fill.success) return fill.data
  throw new RametError('INVALID_ARGUMENT', { message: `RAMET_RESTORE_FILL: “${text}” is neither paced nor none` })
}

function restorePolicy(environment: Environment, file: FileSettings): PolicyName {
  const text = environment.RAMET_RESTORE_POLICY
  const policy = RestorePolicy.safeParse(text ?? file.restore_policy ?? 'auto')
  if (policy.success) return policy.data
  throw new RametError('INVALID_ARGUMENT', {
    message: `RAMET_RESTORE_POLICY: “${text}” is none of ${policyNames.join(', ')}`,
  })
}

function blockCacheSize(environment: Environment): number | undefined {
  const text = environment[blockCacheVariable]
  if (text === undefined) return undefined
  const size = BlockCacheSize.safeParse(/^\d+$/.test(text) ? Number(text) : text)
  if (size.success) return size.data
  throw new RametError('INVALID_ARGUMENT', { message: `${blockCacheVariable}: “${text}” is not a size in MiB` })
}

function portOf(text: string): number {
  const port = Number(text)
  if (/^\d+$/.test(text) && port <= 65535) return port
  throw new RametError('INVALID_ARGUMENT', {
    message: `“${text}” is not a TCP port`,
    remediation: 'Give a port from 1 to 65535, or 0 for any free one.',
  })
}

function readSettingsFile(path: string): FileSettings {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return {}
    throw new RametError('INVALID_ARGUMENT', { message: `${path} cannot be read`, cause: error })
  }
  return parseSettings(text, path)
}

/** @throws RametError `INVALID_ARGUMENT` naming the setting */
export function parseSettings(text: string, path: string): FileSettings {
  let value: unknown
  try {
    value = parse(text)
  } catch (error) {
    throw new RametError('INVALID_ARGUMENT', { message: `${path} is not TOML`, cause: error })
  }
  const parsed = FileSettings.safeParse(value)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  throw new RametError('INVALID_ARGUMENT', {
    message: `${path}: ${[...(issue?.path ?? [])].join('.')} ${issue?.message ?? 'is wrong'}`.trim(),
    remediation: `Settings are ${Object.keys(FileSettings.shape).join(', ')}.`,
  })
}
