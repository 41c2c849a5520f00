/**
 * Named fault points: places where a test can make the process die or fail, exactly as a power cut
 * or a full disk would. Off unless `RAMET_FAULT` names a point, as `<point>=kill`, `<point>=stop` (until
 * SIGCONT, so that something else can be made to happen just then) or `<point>=<errno>`, optionally `@N`
 * for the N-th time it is passed. Several are separated by commas.
 */
import { writeSync } from 'node:fs'
import process from 'node:process'

interface Armed {
  action: string
  remaining: number
}

const armed = new Map<string, Armed>()
armFaults(process.env.RAMET_FAULT ?? '')

/** Arms points as `RAMET_FAULT` does, in place of those that are armed: for tests that run in the same process. */
export function armFaults(entries: string): void {
  armed.clear()
  for (const entry of entries.split(',').filter(Boolean)) {
    const match = /^([a-z0-9.-]+)=([a-zA-Z]+)(?:@(\d+))?$/.exec(entry)
    if (match?.[1] && match[2]) armed.set(match[1], { action: match[2], remaining: Number(match[3] ?? 1) })
  }
}

/** @throws an errno error when the point is armed with one */
export function faultPoint(name: string): void {
  const fault = armed.get(name)
  if (fault === undefined) return
  fault.remaining -= 1
  if (fault.remaining !== 0) return
  if (fault.action === 'kill') process.kill(process.pid, 'SIGKILL')
  if (fault.action === 'stop') {
    writeSync(process.stderr.fd, `stopped at ${name}\n`)
    process.kill(process.pid, 'SIGSTOP')
    return
  }
  throw Object.assign(new Error(`injected ${fault.action} at ${name}`), { code: fault.action })
}
