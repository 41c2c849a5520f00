import type { ExecResult } from '../api/exec.ts'
import type { OutputChannel } from '../api/exec-socket.ts'
import type { ExecSession } from '../engine/contract.ts'
import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'

/** Waits for a process to exit and keeps the first bytes of its output; it gets no input. */
export async function captureExec(session: ExecSession, signal: AbortSignal): Promise<Omit<ExecResult, 'exec'>> {
  const kept: Record<OutputChannel, Uint8Array[]> = { stdout: [], stderr: [] }
  const room = { stdout: limits.execCaptureBytes as number, stderr: limits.execCaptureBytes as number }
  let truncated = false
  const stop = () => void session.release('closed').catch(() => {})
  signal.addEventListener('abort', stop, { once: true })
  try {
    if (signal.aborted) stop()
    for await (const output of session.output) {
      if (output.type === 'exit') return { ...textOf(kept), truncated }
      if (output.type !== 'data') continue
      const { channel, data, offset } = output
      // The chunk may be reused by the engine once it has been acknowledged.
      kept[channel].push(data.slice(0, room[channel]))
      truncated ||= data.length > room[channel]
      room[channel] = Math.max(0, room[channel] - data.length)
      session.ack(channel, offset + data.length)
    }
    throw new RametError('CANCELLED', { message: 'the process was let go before it had exited' })
  } finally {
    signal.removeEventListener('abort', stop)
    await session.release('closed')
  }
}

function textOf(kept: Record<OutputChannel, Uint8Array[]>) {
  return {
    stdout: Buffer.concat(kept.stdout).toString('utf8'),
    stderr: Buffer.concat(kept.stderr).toString('utf8'),
  }
}
