/** Which blocks were asked for, in order. */
import { readFileSync } from 'node:fs'
import type { Key } from '../../src/opportunistic/cache.ts'
import { UsageError } from '../arguments.ts'

export interface Trace {
  /** where it is from */
  source: string
  passes: Pass[]
}

export interface Pass {
  name: string
  keys: Key[]
  /** keys from here on were asked for by nobody: the fill brings them by itself; all were when left out */
  fillFrom?: number
}

const maxKeys = 50_000_000

/**
 * Reads a trace: a key on each line, which is a number or a text without blanks; a line that begins with `@` begins a
 * pass (a restore, say) and names it; `#` begins a comment.
 *
 * @throws UsageError when it cannot be read, or holds nothing
 */
export function readTrace(path: string): Trace {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    throw new UsageError(`--trace: ${error instanceof Error ? error.message : String(error)}`)
  }
  return { source: path, passes: parseTrace(text) }
}

export function parseTrace(text: string): Trace['passes'] {
  const passes: Trace['passes'] = []
  let count = 0
  for (const raw of text.split('\n')) {
    const line = raw.trim()
    if (line === '' || line.startsWith('#')) continue
    if (line.startsWith('@')) {
      passes.push({ name: line.slice(1).trim(), keys: [] })
      continue
    }
    if (/\s/.test(line)) throw new UsageError(`--trace: “${line.slice(0, 40)}” is not one key`)
    if (passes.length === 0) passes.push({ name: 'all', keys: [] })
    count += 1
    if (count > maxKeys) throw new UsageError(`--trace: more than ${maxKeys} keys`)
    passes[passes.length - 1]?.keys.push(/^\d{1,15}$/.test(line) ? Number(line) : line)
  }
  if (count === 0) throw new UsageError('--trace: there is no key in it')
  return passes
}
