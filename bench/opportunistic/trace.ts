/** Which blocks were asked for, in order: of recorded restores, or made up. */
import { readFileSync } from 'node:fs'
import type { Key } from '../../src/opportunistic/cache.ts'
import { UsageError } from '../arguments.ts'

export interface Trace {
  /** where it is from; `synthetic` was made up here */
  source: string
  passes: { name: string; keys: Key[] }[]
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

const blockCount = 4096
const workingPart = 0.3

/**
 * Three restores of one checkpoint of 4096 blocks, as the restores of this project are built: first the working set, by
 * stretches of neighbouring blocks in an order that is mostly the recorded one, some blocks asked for again; then all
 * others once, in the order of the file. Made up, not recorded: it shows that the measurement works, and what shape to expect.
 */
export function syntheticTrace(seed = 1): Trace {
  let state = seed >>> 0
  const below = (bound: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * bound)
  }
  const recorded: number[] = []
  const inSet = new Set<number>()
  while (inSet.size < blockCount * workingPart) {
    const start = below(blockCount)
    for (let block = start; block < Math.min(blockCount, start + 1 + below(12)); block += 1) {
      if (inSet.has(block)) continue
      inSet.add(block)
      recorded.push(block)
    }
  }
  const passes = ['first', 'second', 'third'].map((name) => {
    const keys: number[] = []
    recorded.forEach((block, at) => {
      keys.push(block)
      // A fault in a block that was there before.
      if (below(4) === 0) keys.push(recorded[Math.max(0, at - below(64))] ?? block)
      // A block that this restore alone asks for early.
      if (below(20) === 0) keys.push(below(blockCount))
    })
    const asked = new Set(keys)
    for (let block = 0; block < blockCount; block += 1) if (!asked.has(block)) keys.push(block)
    return { name, keys }
  })
  return { source: 'synthetic', passes }
}
