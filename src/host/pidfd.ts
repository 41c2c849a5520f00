/** Process descriptors: a handle on one process that a recycled pid can never mean. */
import { closeSync } from 'node:fs'
import { constants } from 'node:os'
import koffi from 'koffi'
import { check, syscallRaw } from './libc.ts'

// The same numbers on x86-64 and arm64.
const sysPidfdSendSignal = 424
const sysPidfdOpen = 434

/**
 * Opens a descriptor for a running (or zombie) process; closed on exec.
 *
 * @throws ErrnoError `ESRCH` when there is none
 */
export function openPidfd(pid: number): number {
  return Number(check('pidfd_open', syscallRaw(sysPidfdOpen, pid, 0, 0, 0), `pid ${pid}`))
}

/** @throws ErrnoError `ESRCH` when the process has ended, `EPERM` */
export function sendSignal(pidfd: number, signal: NodeJS.Signals | 0): void {
  const number = signal === 0 ? 0 : constants.signals[signal]
  check('pidfd_send_signal', syscallRaw(sysPidfdSendSignal, pidfd, number, 0, 0), String(signal))
}

/**
 * Resolves when the process behind the descriptor has ended, and closes the descriptor in any case.
 * The event loop itself polls it: no thread, no timer.
 */
export function pidfdExit(pidfd: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const finish = (settle: () => void) => {
      handle.close()
      closeSync(pidfd)
      signal?.removeEventListener('abort', onAbort)
      settle()
    }
    const onAbort = () => finish(() => reject(signal?.reason))
    const handle = koffi.node.poll(pidfd, { readable: true }, () => finish(resolve))
    signal?.addEventListener('abort', onAbort, { once: true })
    if (signal?.aborted) onAbort()
  })
}
