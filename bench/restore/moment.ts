import { once } from 'node:events'
import { closeSync, createWriteStream } from 'node:fs'
import { chmod, readFile, rename } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import { writeFile } from '../../src/agent/file-transfer.ts'
import { syncDisks } from '../../src/agent/freeze.ts'
import { bootSchedule } from '../../src/agent/opening.ts'
import type { AgentSession } from '../../src/agent/session.ts'
import { type SavedCheckpoint, saveCheckpoint } from '../../src/checkpoint/save/save.ts'
import type { OpenBase } from '../../src/memory/base.ts'
import { foldBase } from '../../src/memory/capture.ts'
import { findGuestRam } from '../../src/memory/guest-ram.ts'
import { listPrivateRuns } from '../../src/memory/private-runs.ts'
import { type DeviceState, saveDeviceState } from '../../src/qemu/device-state.ts'
import { pauseGuest, resumeGuest } from '../../src/qemu/incoming.ts'
import type { PageRun } from '../../src/qemu/migration-stream/encode.ts'
import type { QemuProcess } from '../../src/qemu/process.ts'
import { readRomPages } from '../../src/qemu/rom-pages.ts'
import { limits } from '../../src/shared/limits.ts'
import { BenchGuest } from './bench-guest.ts'
import { nearShare } from './near-share.ts'
import { Program, type ProgramPlace } from './program.ts'
import type { Site } from './site.ts'

export const guestKinds = ['fresh', 'fragmented'] as const
export type GuestKind = (typeof guestKinds)[number]

export interface HeapPlan {
  heapBytes: number
  /** pages beside the heap that are touched one at a time */
  fieldPages: number
  /** pages of which every second is given back before the heap is built; only in the fragmented guest */
  scatterPages: number
  seed: number
}

/** A guest as it was at one moment, in all forms from which it is gone on with. */
export interface Moment extends Disposable {
  kind: GuestKind
  heap: ProgramPlace
  /** of what the walk reads */
  checksum: string
  heapBytes: number
  /** of adjacent pages of the process with the heap, those at most 16 frames apart, 0 to 1 */
  nearShare: number
  /** all of its memory, sealed */
  base: OpenBase
  devices: DeviceState
  roms: readonly PageRun[]
  /** what was on its disk */
  diskPath: string
  checkpointPath: string
  checkpoint: SavedCheckpoint
  /** as QEMU itself writes it */
  streamPath: string
}

/** Boots a guest, fills its memory, and captures it. */
export async function prepareMoment(site: Site, kind: GuestKind, plan: HeapPlan): Promise<Moment> {
  const { say } = site
  say(`${kind}: booting`)
  await using guest = await BenchGuest.start(site, { diskPath: site.imageDisk, incoming: false })
  await resumeGuest(guest.qemu)
  const session = await guest.openSession(bootSchedule, limits.guestBootTimeoutMs)
  if (kind === 'fragmented') {
    say(`${kind}: scattering free memory`)
    const scatter = await startScript(site, session, 'scatter.py', [plan.scatterPages, plan.seed])
    await scatter.next()
  }
  say(`${kind}: building the heap`)
  const heap = await startScript(site, session, 'heap.py', [plan.heapBytes, plan.fieldPages, plan.seed])
  const [, , bytes = '', checksum = ''] = await heap.next()
  await syncDisks(session)
  const { place } = heap
  guest.hangUp()
  say(`${kind}: capturing`)
  return await capture(site, guest, { kind, heap: place, checksum, heapBytes: Number(bytes) })
}

async function startScript(
  { signal }: Site,
  session: AgentSession,
  name: string,
  figures: readonly number[],
): Promise<Program> {
  const source = await readFile(fileURLToPath(new URL(`guest/${name}`, import.meta.url)))
  await writeFile(session, `/root/${name}`, [source])
  return await Program.start(session, ['/usr/bin/python3', `/root/${name}`, ...figures.map(String)], signal)
}

type Contents = Pick<Moment, 'kind' | 'heap' | 'checksum' | 'heapBytes'>

async function capture(site: Site, guest: BenchGuest, contents: Contents): Promise<Moment> {
  const { kind } = contents
  const { qemu } = guest
  const { machine, signal, qemuVersion } = site
  await pauseGuest(qemu)
  const devices = await saveDeviceState(qemu)
  const roms = await readRomPages(qemu, devices.blocks)
  const ram = findGuestRam({ pid: qemu.identity.pid, sizeBytes: machine.memoryBytes })
  const base = await foldBase({ id: `bench-${kind}`, ram, runs: await listPrivateRuns(ram), signal })
  try {
    const streamPath = join(site.dir, `${kind}.stream`)
    await writeStream(qemu, streamPath)
    // In order, so that its disk is whole.
    await qemu.quit()
    const diskPath = join(site.dir, `${kind}.qcow2`)
    await rename(guest.diskPath, diskPath)
    const checkpointPath = join(site.dir, `${kind}.ckpt`)
    site.say(`${kind}: saving a checkpoint`)
    const vm = { machine, capturedAt: new Date(), deviceState: devices, romPages: roms, qemuVersion, cpuFeatures: [] }
    const checkpoint = await saveCheckpoint(
      checkpointPath,
      { ...vm, memory: { kind: 'base', base } },
      { signal, mode: 0o600 },
    )
    return {
      ...contents,
      nearShare: await nearShare(base),
      ...{ base, devices, roms, diskPath, checkpointPath, checkpoint, streamPath },
      [Symbol.dispose]: () => closeSync(base.fd),
    }
  } catch (error) {
    closeSync(base.fd)
    throw error
  }
}

const streamSocket = 'stream.sock'
const unboundedBytesPerSecond = 2 ** 40

/** Has QEMU write all of its stopped guest into a file, as an ordinary migration. */
async function writeStream(qemu: QemuProcess, path: string): Promise<void> {
  const { qmp, dir } = qemu
  const server = createServer({ pauseOnConnect: true })
  server.listen(join(dir, streamSocket))
  await once(server, 'listening')
  await chmod(join(dir, streamSocket), 0o666)
  try {
    const written = once(server, 'connection').then(([socket]) => {
      socket.resume()
      return pipeline(socket, createWriteStream(path))
    })
    written.catch(() => {})
    await qmp.execute('migrate-set-capabilities', { capabilities: [{ capability: 'events', state: true }] })
    await qmp.execute('migrate-set-parameters', { 'max-bandwidth': unboundedBytesPerSecond })
    const over = qmp.waitEvent('MIGRATION', ({ data }) => data.status === 'completed' || data.status === 'failed', {
      timeoutMs: limits.incomingTimeoutMs,
    })
    over.catch(() => {})
    await qmp.execute('migrate', { uri: `unix:${streamSocket}` })
    const { data } = await over
    if (data.status !== 'completed') throw qemu.failure('QEMU could not write its guest out')
    await written
  } finally {
    server.close()
  }
}
