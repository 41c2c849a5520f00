import { chmod, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { ensureDaemon } from '../src/cli/daemon/start.ts'
import { stopDaemon } from '../src/cli/daemon/stop.ts'
import { daemonProgram } from '../src/cli/programs.ts'
import { Ramet } from '../src/client/index.ts'
import { resolveSettings } from '../src/engine/settings.ts'

/** A daemon for one measurement, on an empty data directory: nobody else's vms are in the figures. */
export interface BenchDaemon {
  ramet: Ramet
  pid: number
  dataDir: string
  /** a directory beside the daemon's own, removed with it */
  scratchDir: string
  /** Removes vms, templates, daemon and directory. */
  close(): Promise<void>
}

export async function startDaemon(signal: AbortSignal): Promise<BenchDaemon> {
  const parent = await mkdtemp(join(tmpdir(), 'ramet-bench-'))
  // Guests run as users of their own, which must be able to pass through, though not to look.
  await chmod(parent, 0o711)
  const dataDir = join(parent, 'data')
  const scratchDir = join(parent, 'scratch')
  await mkdir(scratchDir, { mode: 0o711 })
  const images = process.env.RAMET_IMAGES_DIR ?? join(resolveSettings({ dataDir }).cacheDir, 'images')
  const socketPath = join(dataDir, 'ramet.sock')
  const close = () => shutDown(new Ramet({ socketPath }), dataDir, parent)
  try {
    await ensureDaemon({
      dataDirectory: dataDir,
      program: daemonProgram(),
      signal,
      env: { ...process.env, RAMET_DATA_DIR: dataDir, RAMET_IMAGES_DIR: images },
    })
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

async function shutDown(ramet: Ramet, dataDir: string, parent: string): Promise<void> {
  // What an interrupt cancelled is still being undone: it would take vms away under our hands.
  for (const { id } of await ramet.operations.list({ state: ['pending', 'running'] })) {
    await ramet.operations.wait(id).catch(() => {})
  }
  for (const vm of await ramet.vms.list()) await vm.remove({ force: true })
  for (const template of await ramet.templates.list()) await template.remove()
  await stopDaemon(dataDir, { signal: AbortSignal.timeout(60_000) })
  await rm(parent, { recursive: true, force: true })
}
