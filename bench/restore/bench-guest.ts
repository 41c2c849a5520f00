import { randomUUID } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { AgentLink } from '../../src/agent/link.ts'
import type { OpeningSchedule } from '../../src/agent/opening.ts'
import type { AgentSession } from '../../src/agent/session.ts'
import { createDisk } from '../../src/disk/create.ts'
import { readLayer } from '../../src/disk/layer.ts'
import { spawnDetached } from '../../src/host/spawn-detached.ts'
import type { OpenBase } from '../../src/memory/base.ts'
import { inheritedFds, machineFiles } from '../../src/qemu/machine.ts'
import { type QemuProcess, startQemu } from '../../src/qemu/process.ts'
import { guestDirectory, type Site } from './site.ts'

export interface GuestOptions {
  /** immutable disk under the guest's own */
  diskPath: string
  /** memory to map; fresh memory when left out */
  base?: OpenBase
  /** waits for devices instead of booting */
  incoming: boolean
  /** open file that QEMU finds at the descriptor which it loads from, in place of a socket to us */
  incomingFd?: number
}

const diskName = 'disk0.qcow2'

/** A QEMU with a disk of its own, and the link to its agent. Both are gone with it. */
export class BenchGuest implements AsyncDisposable {
  readonly qemu: QemuProcess
  readonly dir: string
  readonly #link: AgentLink
  readonly #signal: AbortSignal

  private constructor(qemu: QemuProcess, dir: string, signal: AbortSignal) {
    this.qemu = qemu
    this.dir = dir
    this.#link = new AgentLink({ path: join(dir, machineFiles.agent), peer: qemu.identity })
    this.#signal = signal
  }

  static async start(site: Site, { diskPath, base, incoming, incomingFd }: GuestOptions): Promise<BenchGuest> {
    const dir = await guestDirectory(site)
    try {
      await createDisk({ path: join(dir, diskName), base: await readLayer(diskPath), owner: site.user })
      const qemu = await startQemu({
        dir,
        machine: site.machine,
        seat: {
          boot: site.boot,
          memory: base === undefined ? { kind: 'anonymous' } : { kind: 'base' },
          disks: [{ path: diskName }],
          nics: [{ mac: '52:54:00:52:41:4d', network: { kind: 'unconnected' } }],
          generationId: randomUUID(),
          incoming,
        },
        spawn: (options) =>
          spawnDetached({
            ...options,
            stdio: (options.stdio ?? []).map((entry, fd) =>
              fd === inheritedFds.incoming ? (incomingFd ?? entry) : entry,
            ),
          }),
        ...(site.user === undefined ? {} : { user: site.user }),
        ...(base === undefined ? {} : { memoryFd: base.fd }),
        signal: site.signal,
      })
      return new BenchGuest(qemu, dir, site.signal)
    } catch (error) {
      await rm(dir, { recursive: true, force: true })
      throw error
    }
  }

  /** of its own disk */
  get diskPath(): string {
    return join(this.dir, diskName)
  }

  /** Ahead of the guest, as the daemon does it: the guest finds its host as connected as it was. */
  connectAhead(): Promise<void> {
    return this.#link.connect(this.#signal)
  }

  openSession(schedule: OpeningSchedule, timeoutMs: number): Promise<AgentSession> {
    return this.#link.openSession({ schedule, timeoutMs, signal: this.#signal })
  }

  /** Before the guest stands still for good. */
  hangUp(): void {
    this.#link.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#link.close()
    await this.qemu.kill()
    await rm(this.dir, { recursive: true, force: true })
  }
}
