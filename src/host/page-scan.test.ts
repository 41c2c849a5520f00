import assert from 'node:assert/strict'
import process from 'node:process'
import { test } from 'node:test'
import { addressOf } from './libc.ts'
import { readPrivateRuns, readPrivateWords } from './pagemap.ts'

const pageBytes = 4096
const pages = 9000

/** Memory of this very process, of which only the chosen pages were ever touched. */
function touched(choose: (page: number) => boolean): { buffer: Buffer; start: number } {
  const buffer = Buffer.allocUnsafeSlow((pages + 1) * pageBytes)
  const start = Math.ceil(addressOf(buffer) / pageBytes) * pageBytes
  const from = start - addressOf(buffer)
  for (let page = 0; page < pages; page += 1) if (choose(page)) buffer[from + page * pageBytes] = 1
  return { buffer, start }
}

const patterns: [string, (page: number) => boolean][] = [
  ['none', () => false],
  ['all', () => true],
  // More runs than one call of the kernel tells, and than two.
  ['every fourth', (page) => page % 4 === 1],
  ['runs of three', (page) => page % 16 < 3],
  ['exactly as many runs as one call tells', (page) => page % 2 === 0 && page < 1024],
  ['the ends', (page) => page === 0 || page === pages - 1],
]

for (const [name, choose] of patterns) {
  test(`the kernel's runs are those of the words: ${name}`, () => {
    const { buffer, start } = touched(choose)
    const end = start + pages * pageBytes
    const runs = readPrivateRuns(process.pid, start, end)
    assert.deepEqual(runs, readPrivateWords(process.pid, start, end))
    const listed = new Set(runs.flatMap(({ page, count }) => Array.from({ length: count }, (_, index) => page + index)))
    // Not the other way round: a host may give more at once than was touched.
    for (let page = 0; page < pages; page += 1) if (choose(page)) assert.ok(listed.has(page), `page ${page}`)
    assert.ok(buffer.length > 0, 'the memory is kept until here')
  })
}

test('what was only read is left out on demand, where the kernel knows how', (t) => {
  const { buffer, start } = touched((page) => page % 8 === 0)
  const from = start - addressOf(buffer)
  let sum = 0
  for (let page = 0; page < pages; page += 1) sum += buffer[from + page * pageBytes] ?? 0
  assert.equal(sum, pages / 8)
  const end = start + pages * pageBytes
  const count = (zeroIsNothing: boolean) =>
    readPrivateRuns(process.pid, start, end, zeroIsNothing).reduce((pages, run) => pages + run.count, 0)
  assert.equal(count(false), pages, 'all are present')
  const left = count(true)
  t.diagnostic(`${left} of ${pages} pages`)
  if (left < pages) assert.equal(left, sum)
})
