import { type FSWatcher, watch } from 'node:fs'
import { request } from 'node:http'

/** Whether a daemon serves requests on a socket; `starting` while it takes over what the one before left. */
export type Readiness = 'ready' | 'starting' | 'absent'

export function askReadiness(socketPath: string, timeoutMs = 2_000): Promise<Readiness> {
  return new Promise((resolve) => {
    const asked = request({ socketPath, path: '/readyz', agent: false, timeout: timeoutMs }, (response) => {
      response.resume()
      resolve(response.statusCode === 200 ? 'ready' : 'starting')
    })
    asked.on('timeout', () => {
      resolve('starting')
      asked.destroy()
    })
    asked.on('error', () => resolve('absent'))
    asked.end()
  })
}

/** Resolves at the next change in a directory, or after `mostMs`: changes can be missed, so it is only a hint. */
export function nextChange(directory: string, mostMs: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.reject(signal.reason)
  return new Promise((resolve, reject) => {
    let watcher: FSWatcher | undefined
    const end = () => {
      clearTimeout(timer)
      watcher?.close()
      signal.removeEventListener('abort', onAbort)
    }
    const finish = () => {
      end()
      resolve()
    }
    const onAbort = () => {
      end()
      reject(signal.reason)
    }
    const timer = setTimeout(finish, mostMs)
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      watcher = watch(directory, finish)
      watcher.on('error', () => watcher?.close())
    } catch {
      // No watches left on this system, or no such directory yet: the timer remains.
    }
  })
}
