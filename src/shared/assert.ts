import { RametError } from './errors.ts'

/**
 * Checks something that only a mistake in Ramet itself can make false. Stays on in production:
 * a wrong assumption about somebody's disk is cheaper as a failed request than as a lost disk.
 *
 * @throws RametError `INTERNAL` when the condition is false
 */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new RametError('INTERNAL', { message: `assertion failed: ${message}` })
}

/** Makes a `switch` over a union exhaustive: a new member fails to compile here. */
export function unreachable(value: never): never {
  throw new RametError('INTERNAL', { message: `unreachable value: ${JSON.stringify(value)}` })
}
