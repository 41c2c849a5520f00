import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { ensureDaemon } from '../src/cli/daemon/start.ts'
import { stopDaemon } from '../src/cli/daemon/stop.ts'
import { daemonProgram } from '../src/cli/programs.ts'
import { Ramet } from '../src/client/index.ts'
import { resolveSettings } from '../src/engine/settings.ts'

/** A daemon of one's own on an empty data directory, for a measurement or a demonstration. Only cached images outlive it. */
export interface ScratchDaemon {
  ramet: Ramet
  pid: number
  dataDir: string
  /** a directory beside the daemon's own, removed with it */
  scratchDir: string
  /** Removes vms, templates, daemon and directory. @returns processes that should have gone with them, one line each */
  close(): Promise<string[]>
}

const startTimeoutMs = 60_000

/** @param inside directory to make it in; its file system is the one of the vms' disks */
export async function startScratchDaemon(signal: AbortSignal, inside = tmpdir()): Promise<ScratchDaemon> {
  const parent = await mkdtemp(join(inside, 'ramet-scratch-'))
  // Guests run as users of their own, which must be able to pass through, though not to look.
  await chmod(parent, 0o711)
  const dataDir = join(parent, 'data')
  const scratchDir = join(parent, 'scratch')
  await mkdir(scratchDir, { mode: 0o711 })
  const images = process.env.RAMET_IMAGES_DIR ?? join(resolveSettings({ dataDir }).cacheDir, 'images')
  const socketPath = join(dataDir, 'ramet.sock')
  const close = () => shutDown(new Ramet({ socketPath }), dataDir, parent)
  try {
    // Not aborted: of a daemon that is just starting nobody knows yet how to stop it.
    await ensureDaemon({
      dataDirectory: dataDir,
      program: daemonProgram(),
      signal: AbortSignal.timeout(startTimeoutMs),
      env: { ...process.env, RAMET_DATA_DIR: dataDir, RAMET_IMAGES_DIR: images },
    })
    signal.throwIfAborted()
  } catch (error) {
    await stopDaemon(dataDir, { signal: AbortSignal.timeout(60_000) })
    await rm(parent, { recursive: true, force: true })
    throw error
  }
  // Aborted calls are cancelled on the daemon too, so that cleaning up meets nothing under way.
  return { ramet: new Ramet({ socketPath, signal }), pid: await daemonPid(dataDir), dataDir, scratchDir, close }
}

async function daemonPid(dataDir: string): Promise<number> {
  return Number(await readFile(join(dataDir, 'daemon.pid'), 'utf8'))
}

async function shutDown(ramet: Ramet, dataDir: string, parent: string): Promise<string[]> {
  // What an interrupt cancelled is still being undone: it would take vms away under our hands.
  for (const { id } of await ramet.operations.list({ state: ['pending', 'running'] })) {
    await ramet.operations.wait(id).catch(() => {})
  }
  for (const vm of await ramet.vms.list()) await vm.remove({ force: true })
  for (const template of await ramet.templates.list()) await template.remove()
  await stopDaemon(dataDir, { signal: AbortSignal.timeout(60_000) })
  await rm(parent, { recursive: true, force: true })
  return processesNaming(parent)
}

/** Processes that work in a directory or name it in their arguments. */
function processesNaming(directory: string): string[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry) && Number(entry) !== process.pid)
    .flatMap((pid) => {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
        const isInside = readlinkSync(`/proc/${pid}/cwd`).startsWith(directory) || command.includes(directory)
        return isInside ? [`${pid} ${command.slice(0, 120)}`] : []
      } catch {
        // It ended while it was looked at.
        return []
      }
    })
}
