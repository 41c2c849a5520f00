/** The kernel command line of an image. */

/** What every guest boots with. */
const common = [
  'console=ttyS0',
  // Messages on an emulated serial port cost a guest exit a character; warnings and panics still appear.
  'quiet',
  // Reset at once: the host sees the panic by the pvpanic device, and before that is loaded by the reset.
  'panic=-1',
  // After a fork or a restore the counter has jumped; the watchdog would call it unstable and leave it.
  'tsc=reliable',
  'no_timer_check',
  // 0.35 s of 1.8 s under TCG
  'cryptomgr.notests',
  // Patching the lock prefixes out for one processor costs 0.2 s under TCG and saves nothing under KVM.
  'noreplace-smp',
  // A huge page written once is 2 MiB private to a child instead of 4 KiB.
  'transparent_hugepage=madvise',
  'net.ifnames=0',
]

export interface CmdlineOptions {
  init: 'agent' | 'system'
  /** the guest's name of its root device; absent: it stays in its initramfs */
  rootDevice?: string
}

export function composeCmdline(options: CmdlineOptions): string {
  const root = options.rootDevice === undefined ? [] : [`root=${options.rootDevice}`, 'rw', 'rootflags=noatime']
  return [...common, ...root, `ramet.init=${options.init}`].join(' ')
}
