import { findGuestRam, type GuestRam } from '../../memory/guest-ram.ts'
import type { QemuExit, QemuProcess } from '../../qemu/process.ts'
import type { Guest } from '../guest/guest.ts'
import type { VmRecord } from '../records.ts'
import type { ConsoleLog } from './console.ts'

/** How a guest came to its end. */
export type GuestEnd =
  /** it shut itself down, or QEMU was told to */
  | { kind: 'shutdown' }
  | { kind: 'panic'; event: string }
  /** QEMU ended by itself or was killed */
  | { kind: 'exit'; exit: QemuExit }

/** What runs for a vm. It exists exactly while the vm is in a live state, in one daemon. */
export class VmRuntime {
  readonly vmId: string
  readonly qemu: QemuProcess
  readonly guest: Guest
  readonly console: ConsoleLog
  /** resolves with the first end there is */
  readonly ended: Promise<GuestEnd>
  #ram: GuestRam | undefined

  constructor(parts: { vmId: string; qemu: QemuProcess; guest: Guest; console: ConsoleLog }) {
    this.vmId = parts.vmId
    this.qemu = parts.qemu
    this.guest = parts.guest
    this.console = parts.console
    this.ended = watchEnd(parts.qemu)
  }

  /** Where the guest's memory lies; looked up once, since it never moves. */
  ram(vm: VmRecord): GuestRam {
    this.#ram ??= findGuestRam({
      pid: this.qemu.identity.pid,
      sizeBytes: vm.machine.memoryBytes,
      ...(vm.baseId === undefined ? {} : { baseId: vm.baseId }),
    })
    return this.#ram
  }

  /** Lets go of everything in this daemon; QEMU runs on. */
  release(): void {
    this.close()
    this.qemu.release()
  }

  /** Closes the link. */
  close(): void {
    this.guest.close()
  }
}

/**
 * A guest that ends leaves its QEMU there (`-action shutdown=pause,panic=pause`), so that whoever asks
 * later, also another daemon, can learn why.
 */
function watchEnd(qemu: QemuProcess): Promise<GuestEnd> {
  return new Promise((resolve) => {
    qemu.qmp.onEvent((event) => {
      if (event.name === 'SHUTDOWN') resolve({ kind: 'shutdown' })
      if (event.name === 'GUEST_PANICKED') resolve({ kind: 'panic', event: JSON.stringify(event.data) })
    })
    void qemu.ended.then((exit) => resolve({ kind: 'exit', exit }))
  })
}

/** What a run state says about a guest whose events were missed. @returns undefined when it lives */
export function endFromRunState(state: string): GuestEnd | undefined {
  if (state === 'shutdown') return { kind: 'shutdown' }
  if (state === 'guest-panicked') return { kind: 'panic', event: 'guest-panicked' }
  if (state === 'internal-error') return { kind: 'panic', event: state }
  return undefined
}
