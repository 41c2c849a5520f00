/** For tests: guests that run the counting firmware, ended and removed with the fixture. */
import {
  chmodSync,
  chownSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { createMemfd, immutableSeals, sealFile } from '../../host/memfd.ts'
import { signalProcess, waitForExit } from '../../host/process-identity.ts'
import { spawnDetached } from '../../host/spawn-detached.ts'
import { type DeviceState, saveDeviceState } from '../device-state.ts'
import { guestMemoryBytes } from '../guest-memory.ts'
import type { MachineDescription, MachineSeat } from '../machine-description.ts'
import type { PageRun } from '../migration-stream/encode.ts'
import { type QemuProcess, type StartOptions, startQemu } from '../process.ts'
import { readRomPages } from '../rom-pages.ts'
import { counting, countingFirmware } from './counting-firmware.ts'

const MiB = 1024 * 1024

export interface TestTemplate {
  devices: DeviceState
  roms: PageRun[]
  /** sealed memory file with the parent's RAM */
  memoryFd: number
  counter: number
}

export class GuestFixture implements AsyncDisposable {
  readonly machine: MachineDescription
  readonly #root = mkdtempSync(join(tmpdir(), 'ramet-qemu-'))
  readonly #firmware = join(this.#root, 'firmware.bin')
  readonly #running = new Set<QemuProcess>()
  readonly #fds: number[] = []
  #count = 0

  constructor(cpuCount = 1, changes: Partial<MachineDescription> = {}) {
    chmodSync(this.#root, 0o711)
    writeFileSync(this.#firmware, countingFirmware(), { mode: 0o444 })
    this.machine = {
      ...{
        machine: 'pc-q35-7.2',
        accelerator: 'tcg',
        cpuCount,
        cpuMaxCount: 2,
        memoryBytes: guestMemoryBytes(64 * MiB),
      },
      ...{ memorySlotCount: 2, memoryMaxBytes: 512 * MiB, diskCount: 0, nicCount: 1, sparePortCount: 1 },
      ...changes,
    }
  }

  /** A directory that belongs to the user that QEMU runs as. */
  directory(): string {
    const dir = join(this.#root, `vm${this.#count++}`)
    mkdirSync(dir, { mode: 0o700 })
    if (process.getuid?.() === 0) chownSync(dir, 65534, 65534)
    return dir
  }

  seat(changes: Partial<MachineSeat> = {}): MachineSeat {
    return {
      boot: { kind: 'firmware', biosPath: this.#firmware },
      memory: { kind: 'anonymous' },
      disks: [],
      nics: [{ mac: '52:54:00:12:34:56', network: { kind: 'unconnected' } }],
      generationId: crypto.randomUUID(),
      incoming: false,
      ...changes,
    }
  }

  async start(seat: MachineSeat = this.seat(), changes: Partial<StartOptions> = {}): Promise<QemuProcess> {
    const user = process.getuid?.() === 0 ? { user: { uid: 65534, gid: 65534 } } : {}
    const options = { dir: this.directory(), machine: this.machine, seat, spawn: spawnDetached, ...user, ...changes }
    const qemu = await startQemu(options)
    this.#running.add(qemu)
    return qemu
  }

  /** A QEMU over the template's base that waits for its stream. */
  startChild(template: TestTemplate): Promise<QemuProcess> {
    const seat = this.seat({ memory: { kind: 'base' }, incoming: true })
    return this.start(seat, { memoryFd: template.memoryFd })
  }

  /** Saves a stopped guest and copies its RAM into a sealed base. */
  async capture(qemu: QemuProcess): Promise<TestTemplate> {
    const devices = await saveDeviceState(qemu)
    const roms = await readRomPages(qemu, devices.blocks)
    const size = this.machine.memoryBytes
    await qemu.qmp.execute('pmemsave', { val: 0, size, filename: 'ram' })
    const memoryFd = createMemfd('ramet-test-base', size)
    this.#fds.push(memoryFd)
    writeSync(memoryFd, readFileSync(join(qemu.dir, 'ram')), 0, size, 0)
    sealFile(memoryFd, immutableSeals)
    return { devices, roms, memoryFd, counter: await readCounter(qemu) }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const qemu of this.#running) {
      qemu.release()
      signalProcess(qemu.identity, 'SIGKILL')
      await waitForExit(qemu.identity)
    }
    for (const fd of this.#fds) closeSync(fd)
    rmSync(this.#root, { recursive: true, force: true })
  }
}

export async function readWord(qemu: QemuProcess, address: number): Promise<number> {
  const text = await qemu.qmp.execute<string>('human-monitor-command', { 'command-line': `xp /1xw ${address}` })
  return Number(text.split(' ')[1])
}

export const readCounter = (qemu: QemuProcess) => readWord(qemu, counting.counterAddress)

/** Waits until a counter of a running guest has passed `value`. The guest announces nothing: this asks. */
export async function counterPasses(
  qemu: QemuProcess,
  value: number,
  address: number = counting.counterAddress,
): Promise<void> {
  const giveUpAt = performance.now() + 20_000
  while ((await readWord(qemu, address)) <= value) {
    if (performance.now() > giveUpAt) throw new Error(`the guest's counter does not pass ${value}`)
    await delay(5)
  }
}

/** What the guest printed since the last call. */
export async function readConsole(qemu: QemuProcess): Promise<string> {
  return await qemu.qmp.execute<string>('ringbuf-read', { device: 'console', size: 65536 })
}
