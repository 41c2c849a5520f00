/**
 * What every build has around it: tools checked, leftovers swept, a log, the kernel and the agent's digest,
 * and one way from inputs to a finished image.
 */
import { randomBytes } from 'node:crypto'
import { mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { sealInPlace } from '../../src/disk/seal.ts'
import { asRametError, isRametError } from '../../src/shared/errors.ts'
import { faultPoint } from '../../src/shared/fault.ts'
import { limits } from '../../src/shared/limits.ts'
import { Revert } from '../../src/shared/revert.ts'
import { agentDigest, defaultAgentDir } from './agent-binary.ts'
import { sweepLocks, takeLock } from './build-lock.ts'
import { commandRunner, openBuildLog, type RunCommand, throwIfCancelled } from './command.ts'
import type { BuildContext } from './context.ts'
import { describeFiles, digestOfFiles, digestOfValue } from './digest.ts'
import { type HostTool, requireTools } from './host-tools.ts'
import { fetchKernel, type KernelPackage } from './kernel-package.ts'
import { findImage } from './load.ts'
import { diskFile, type ImageManifest, initrdFile, kernelFile, manifestFile } from './manifest.ts'
import { createStaging, publish, removeTree, sweepStaging } from './staging.ts'
import { ownsTreesItself, removeAsTreeOwner } from './tree-owner.ts'

/** Raised whenever builders make something else out of the same inputs: images are then built anew. */
export const builderVersion = 2

export interface Workshop {
  readonly context: BuildContext
  readonly run: RunCommand
  /** for removals, which must also work after the build was cancelled */
  readonly runAlways: RunCommand
  readonly kernel: KernelPackage
  readonly agentDir: string
  readonly agentDigest: string
  report(stage: string, message: string, done?: { doneBytes: number; totalBytes: number }): void
}

/** Where one image is made. */
export interface Bench {
  /** becomes the image: nothing but artefacts */
  readonly staging: string
  /** everything else; removed at the end */
  readonly work: string
}

/** What a recipe adds to the fields that every manifest has. */
export type RecipeResult = Pick<ImageManifest, 'recipe' | 'init' | 'cmdline' | 'disk'> & { source?: string }

export const commonTools: readonly HostTool[] = [
  ...(['apt-get', 'apt-cache', 'dpkg-deb', 'depmod', 'xz', 'make', 'cc', 'musl-gcc', 'setpriv'] as const),
]

/**
 * Runs `work` with the tools, the log and the kernel there. The log is kept when it fails.
 *
 * @param trees whether files of many owners are unpacked, which an ordinary user does in a user namespace
 * @throws RametError `HOST_UNFIT`, `IMAGE_BUILD_FAILED`, `NO_SPACE`, `CANCELLED`
 */
export async function inWorkshop<T>(
  context: BuildContext,
  what: { name: string; tools: readonly HostTool[]; trees: boolean },
  work: (workshop: Workshop) => Promise<T>,
): Promise<T> {
  throwIfCancelled(context.signal)
  const userTools: HostTool[] = what.trees && !ownsTreesItself() ? ['mmdebstrap', 'newuidmap'] : []
  await requireTools([...new Set([...commonTools, ...what.tools, ...userTools])])
  const logsDir = join(context.cacheDir, 'logs')
  await mkdir(context.imagesDir, { recursive: true, mode: 0o711 })
  await mkdir(logsDir, { recursive: true })
  await pruneLogs(logsDir)
  const logPath = join(logsDir, `${what.name}-${randomBytes(4).toString('hex')}.log`)
  try {
    const result = await openWorkshop(context, logPath, work)
    await rm(logPath, { force: true })
    return result
  } catch (error) {
    const isBuildsFault = !isRametError(error) || error.code === 'IMAGE_BUILD_FAILED' || error.code === 'NO_SPACE'
    if (!isBuildsFault) await rm(logPath, { force: true })
    throw asRametError(error)
  }
}

async function openWorkshop<T>(
  context: BuildContext,
  logPath: string,
  work: (workshop: Workshop) => Promise<T>,
): Promise<T> {
  await using log = await openBuildLog(logPath)
  const run = commandRunner(log, context.signal)
  await sweep(context, run)
  const report: Workshop['report'] = (stage, message, done) => {
    context.log?.debug({ stage, ...done }, message)
    context.onProgress?.({ stage, message, ...done })
  }
  const agentDir = context.agentDir ?? defaultAgentDir
  const digest = await agentDigest(agentDir)
  const kernel = await kernelOf(context, run, report)
  return work({ context, run, runAlways: commandRunner(log), kernel, agentDir, agentDigest: digest, report })
}

async function kernelOf(context: BuildContext, run: RunCommand, report: Workshop['report']): Promise<KernelPackage> {
  const onWait = (pid: number) => report('kernel', `waiting for another build (process ${pid})`)
  await using _lock = await takeLock(context.cacheDir, 'kernel', { ...signalOf(context), onWait })
  return fetchKernel(context.cacheDir, run, (message) => report('kernel', message))
}

/**
 * Makes the image that follows from `inputs`, unless it is there.
 *
 * @param inputs everything that decides what comes out; the id is a digest over it
 * @param make fills the bench's `staging` with the artefacts
 */
export async function makeImage(
  shop: Workshop,
  inputs: Record<string, unknown>,
  options: { trees: boolean },
  make: (bench: Bench, id: string) => Promise<RecipeResult>,
): Promise<ImageManifest> {
  const { context } = shop
  const id = imageIdOf(shop, inputs)
  const found = await findImage(context.imagesDir, id)
  if (found !== undefined) return found
  const onWait = (pid: number) => shop.report('wait', `another build of ${id} is under way (process ${pid})`)
  await using _lock = await takeLock(context.imagesDir, id, { ...signalOf(context), onWait })
  const foundLater = await findImage(context.imagesDir, id)
  if (foundLater !== undefined) return foundLater
  await using revert = new Revert((step, error) => context.log?.warn({ error }, `could not ${step}`))
  const staging = await createStaging(context.imagesDir)
  revert.add('remove the unfinished image', () => removeTree(staging))
  const work = await createStaging(options.trees ? treesDir(context) : context.imagesDir)
  revert.add('remove the work directory', () => removeAsTreeOwner(work, shop.runAlways))
  const result = await make({ staging, work }, id)
  throwIfCancelled(context.signal)
  const manifest = await writeManifest(shop, staging, id, result)
  faultPoint('image.publish')
  shop.report('publish', `writing ${id} to disk`)
  await publish(staging, context.imagesDir, id)
  return manifest
}

export function imageIdOf(shop: Pick<Workshop, 'kernel' | 'agentDigest'>, inputs: Record<string, unknown>): string {
  const { release, version } = shop.kernel
  const digest = digestOfValue({ builderVersion, kernel: { release, version }, agent: shop.agentDigest, inputs })
  return `img-${digest.slice(0, 12)}`
}

async function writeManifest(shop: Workshop, staging: string, id: string, made: RecipeResult): Promise<ImageManifest> {
  // A disk made over this one names it: it is not mistaken for another image's of the same size.
  if (made.disk !== null) await sealInPlace(join(staging, diskFile), id)
  const names = [kernelFile, initrdFile, ...(made.disk === null ? [] : [diskFile])]
  const files = await describeFiles(staging, names, shop.context.signal)
  const manifest: ImageManifest = {
    schemaVersion: 1,
    id,
    ...made,
    kernelVersion: shop.kernel.release,
    createdAt: new Date().toISOString(),
    digest: digestOfFiles(files),
    agentDigest: shop.agentDigest,
    files,
  }
  await writeFile(join(staging, manifestFile), `${JSON.stringify(manifest, null, 2)}\n`)
  return manifest
}

/** Trees of an ordinary user belong to other ids of hers, who must be able to reach them: not below a closed home. */
function treesDir(context: BuildContext): string {
  if (ownsTreesItself()) return context.imagesDir
  return process.env.TMPDIR === undefined ? '/var/tmp' : tmpdir()
}

async function sweep(context: BuildContext, run: RunCommand): Promise<void> {
  const dirs = new Set([context.imagesDir, treesDir(context)])
  const remove = (path: string) =>
    removeAsTreeOwner(path, run).catch((error: unknown) => {
      context.log?.warn({ error, path }, 'could not remove what a dead build left')
    })
  for (const dir of dirs) await sweepStaging(dir, remove)
  await sweepLocks(context.imagesDir)
}

/** Of failed builds, the newest are kept. */
async function pruneLogs(dir: string): Promise<void> {
  const logs = await Promise.all(
    (await readdir(dir)).map(async (name) => ({ path: join(dir, name), time: (await stat(join(dir, name))).mtimeMs })),
  )
  logs.sort((a, b) => b.time - a.time)
  for (const { path } of logs.slice(limits.imageLogCount)) await rm(path, { force: true })
}

function signalOf(context: BuildContext): { signal?: AbortSignal } {
  return context.signal === undefined ? {} : { signal: context.signal }
}
