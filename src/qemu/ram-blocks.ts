import { RametError } from '../shared/errors.ts'
import { nodeNames } from './machine.ts'
import type { QmpClient } from './qmp.ts'

/** One block of memory that QEMU carries in a migration: guest RAM, or a small ROM. */
export interface RamBlock {
  readonly name: string
  /** bytes in use, a multiple of the page size */
  readonly usedBytes: number
}

const maxBlockCount = 256
const maxNameBytes = 255
const pageBytes = 4096

/** @throws RametError `QMP_FAILED` when QEMU's table cannot be understood */
export async function readRamBlocks(qmp: QmpClient): Promise<RamBlock[]> {
  // There is no QMP command for it; the human one has been stable since 2017.
  const text = await qmp.execute<unknown>('human-monitor-command', { 'command-line': 'info ramblock' })
  return parseRamBlocks(String(text))
}

/** Parses `info ramblock`. Blocks without a name take no part in migration and are left out. */
export function parseRamBlocks(text: string): RamBlock[] {
  const lines = text.split('\n').filter((line) => line.trim().length > 0)
  if (!/Block Name\s+PSize\s+Offset\s+Used\s+Total/.test(lines[0] ?? '')) throw unreadable(lines[0])
  if (lines.length > maxBlockCount) throw unreadable(`${lines.length} lines`)
  const blocks = lines
    .slice(1)
    .map(parseLine)
    .filter((block) => block.name.length > 0)
  if (new Set(blocks.map((block) => block.name)).size !== blocks.length) throw unreadable('two blocks of one name')
  if (!blocks.some((block) => block.name === nodeNames.memory)) throw unreadable('no guest RAM')
  return blocks
}

// Newer versions add a host address and `ro`/`rw`.
const linePattern = /^\s*(.*?)\s+\d+ [KMG]?i?B((?:\s+0x[0-9a-f]{1,16}){3,4})(?:\s+r[ow])?\s*$/

function parseLine(line: string): RamBlock {
  const match = linePattern.exec(line)
  if (match === null) throw unreadable(line)
  const [, name = '', numbers = ''] = match
  const [, usedBytes, totalBytes] = numbers.trim().split(/\s+/).map(Number)
  const sane =
    usedBytes !== undefined &&
    totalBytes !== undefined &&
    Number.isSafeInteger(usedBytes) &&
    usedBytes > 0 &&
    usedBytes <= totalBytes &&
    usedBytes % pageBytes === 0 &&
    Buffer.byteLength(name) <= maxNameBytes
  if (!sane) throw unreadable(line)
  return { name, usedBytes }
}

function unreadable(what: string | undefined): RametError {
  return new RametError('QMP_FAILED', {
    message: `cannot read QEMU's table of RAM blocks: ${(what ?? '').slice(0, 200)}`,
  })
}
