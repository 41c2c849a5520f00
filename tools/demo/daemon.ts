import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { ensureDaemon } from '../../src/cli/daemon/start.ts'
import { stopDaemon } from '../../src/cli/daemon/stop.ts'
import { Ramet } from '../../src/client/index.ts'
import { resolveSettings } from '../../src/engine/settings.ts'
import { processesIn } from '../../src/host/processes-in.ts'
import { repositoryRoot } from '../rules/source.ts'

/** A daemon of the demo's own on an empty data directory; only images outlive it, in the cache. */
export interface DemoDaemon extends AsyncDisposable {
  ramet: Ramet
  dataDir: string
  /** Removes all vms and templates, then the daemon, then its directory. @returns what was found left over */
  close(): Promise<string[]>
}

export async function startDemoDaemon(signal: AbortSignal): Promise<DemoDaemon> {
  const parent = await mkdtemp(join(tmpdir(), 'ramet-demo-'))
  const dataDir = join(parent, 'data')
  const { cacheDir } = resolveSettings({ dataDir })
  const images = process.env.RAMET_IMAGES_DIR ?? join(cacheDir, 'images')
  // Guests run as users of their own: they must be able to pass through, though not to look.
  await chmod(parent, 0o711)
  await ensureDaemon({
    dataDirectory: dataDir,
    program: join(repositoryRoot, 'src', 'server', 'main.ts'),
    signal,
    env: { ...process.env, RAMET_DATA_DIR: dataDir, RAMET_IMAGES_DIR: images },
  })
  const ramet = new Ramet({ socketPath: join(dataDir, 'ramet.sock') })
  let closed: Promise<string[]> | undefined
  const close = () => {
    closed ??= shutDown(ramet, parent, dataDir)
    return closed
  }
  return { ramet, dataDir, close, [Symbol.asyncDispose]: async () => void (await close()) }
}

async function shutDown(ramet: Ramet, parent: string, dataDir: string): Promise<string[]> {
  const left: string[] = []
  for (const vm of await ramet.vms.list()) await vm.remove({ force: true })
  for (const template of await ramet.templates.list()) await template.remove()
  await stopDaemon(dataDir, { signal: AbortSignal.timeout(60_000) })
  for (const process of processesIn(dataDir)) left.push(`process ${process.pid}`)
  await rm(parent, { recursive: true, force: true })
  return left
}
