import type { RestartPolicy } from '../../api/vm.ts'
import { RametError } from '../../shared/errors.ts'

/** `no`, `always`, `on-failure` or `on-failure:5`. @throws RametError `INVALID_ARGUMENT` */
export function parseRestart(text: string): RestartPolicy {
  const match = /^on-failure(?::(\d{1,4}))?$/.exec(text)
  const maxRetries = match?.[1] === undefined ? undefined : Number(match[1])
  if (text === 'no' || text === 'always') return { mode: text }
  if (match !== null && (maxRetries ?? 0) <= 1000)
    return { mode: 'on-failure', ...(maxRetries === undefined ? {} : { maxRetries }) }
  throw new RametError('INVALID_ARGUMENT', {
    message: `“${text}” is not a restart policy`,
    remediation: 'Write no, always, on-failure, or on-failure:N with N up to 1000.',
  })
}
