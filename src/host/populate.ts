/** Making memory resident before it is needed: a page touched first while it is written costs several times the copy. */
import { errnoOf } from '../shared/errors.ts'
import { addressOf, check, madviseRaw } from './libc.ts'

const pageBytes = 4096
const hugePage = 14
const populateWrite = 23

/** Asks for huge pages, which are touched and freed several times faster. Merely a wish: some hosts have none. */
export function preferHugePages(buffer: Buffer): void {
  const pages = wholePages(buffer)
  if (pages.length > 0) madviseRaw(pages, pages.length, hugePage)
}

/**
 * Makes the whole pages of a buffer resident; their content is then undefined.
 *
 * @throws ErrnoError `ENOMEM`
 */
export function populate(buffer: Buffer): void {
  const pages = wholePages(buffer)
  if (pages.length === 0) return
  try {
    check('madvise', madviseRaw(pages, pages.length, populateWrite), `${pages.length} bytes`)
  } catch (error) {
    // Before Linux 5.14.
    if (errnoOf(error) !== 'EINVAL') throw error
    pages.fill(0)
  }
}

function wholePages(buffer: Buffer): Buffer {
  const address = addressOf(buffer)
  const from = Math.ceil(address / pageBytes) * pageBytes - address
  const end = Math.floor((address + buffer.length) / pageBytes) * pageBytes - address
  return end > from ? buffer.subarray(from, end) : buffer.subarray(0, 0)
}
