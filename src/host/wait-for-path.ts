import { existsSync, watch } from 'node:fs'
import { dirname } from 'node:path'
import { RametError } from '../shared/errors.ts'

/**
 * Resolves when something exists at `path`, whose directory is there already. Told by the kernel, not polled.
 *
 * @throws RametError `TIMEOUT`, or the signal's reason
 */
export async function waitForPath(path: string, timeoutMs: number, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted()
  const found = Promise.withResolvers<void>()
  // Watching starts before the first look, so that no appearance falls between the two.
  const watcher = watch(dirname(path), () => {
    if (existsSync(path)) found.resolve()
  })
  watcher.on('error', (error) => found.reject(error))
  const onAbort = () => found.reject(signal?.reason)
  signal?.addEventListener('abort', onAbort, { once: true })
  const timer = setTimeout(
    () => found.reject(new RametError('TIMEOUT', { message: `${path} did not appear within ${timeoutMs} ms` })),
    timeoutMs,
  )
  try {
    if (existsSync(path)) return
    await found.promise
  } finally {
    found.promise.catch(() => {})
    clearTimeout(timer)
    signal?.removeEventListener('abort', onAbort)
    watcher.close()
  }
}
