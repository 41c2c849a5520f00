import type { RametApiError } from './errors.ts'
import { type ConnectionOptions, resolveTarget } from './settings.ts'
import { Transport } from './transport.ts'

/** How to reach a daemon, and for how long. Options come before environment variables, those before defaults. */
export interface RametOptions extends ConnectionOptions {
  /** Aborts every call made through this client. */
  signal?: AbortSignal | undefined
  /**
   * Called when no daemon listens; it may start one, or throw something better. The call is then tried once more.
   * Left out, calls reject with `DAEMON_UNREACHABLE`.
   */
  onUnreachable?: ((error: RametApiError) => Promise<void>) | undefined
}

export function connect(options: RametOptions = {}): Transport {
  return new Transport(resolveTarget(options), { signal: options.signal, onUnreachable: options.onUnreachable })
}
