import { limits } from '../shared/limits.ts'
import type { WaitOptions } from './deadline.ts'
import { type ExitStatus, readExit } from './proc.ts'
import type { AgentSession } from './session.ts'
import type { Fields } from './wire/field-table.ts'

export type HookName = 'pre-snapshot' | 'post-fork'

export interface HookResult {
  readonly path: string
  readonly exit: ExitStatus | undefined
  readonly durationMs: number
  /** the end of what it wrote, at most 4 KiB */
  readonly output: string
}

/** what the answer may take beyond the time the hooks were given */
const graceMs = 5_000

/**
 * Runs the executables of `/etc/ramet/<name>.d`, in the order of their names.
 *
 * @param options `timeoutMs` is for all of them together, default `limits.hookTimeoutMs`
 * @throws RametError `GUEST_REFUSED` with `ECANCELED` when one failed or `ETIMEDOUT`; `details.hooks` has the results
 */
export async function runHooks(
  session: AgentSession,
  name: HookName,
  options: WaitOptions & { env?: Readonly<Record<string, string>> } = {},
): Promise<HookResult[]> {
  const { env = {}, timeoutMs = limits.hookTimeoutMs, signal } = options
  const fields = { name, env: Object.entries(env).map(([key, value]) => `${key}=${value}`), timeoutMs }
  const shape = { refusalDetails: (answer: Fields) => ({ hooks: readHooks(answer) }) }
  const stream = await session.openStream('hooks.run', fields, shape, { signal, timeoutMs: timeoutMs + graceMs })
  return readHooks(await stream.answer)
}

function readHooks(answer: Fields): HookResult[] {
  return (answer.hook ?? []).map((hook) => ({
    path: hook.path ?? '',
    exit: readExit(hook),
    durationMs: Number(hook.durationNs ?? 0n) / 1e6,
    output: Buffer.from(hook.output ?? []).toString('utf8'),
  }))
}
