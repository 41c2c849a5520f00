/**
 * `/proc/PID/pagemap`: one 64-bit word a page. Words are looked at as pairs of 32-bit halves; a BigInt
 * a page would cost more than the read itself.
 */
import { closeSync, openSync, readSync } from 'node:fs'
import { scanPrivate } from './page-scan.ts'

const pageBytes = 4096
const wordBytes = 8
const chunkWords = 64 * 1024

// Bits of the upper half: 63 present, 62 swapped, 61 page of a file (or shared memory).
const present = 0x80000000
const swapped = 0x40000000
const ofFile = 0x20000000

/** A run of neighbouring pages, in pages from the start of the range looked at. */
export interface PageRun {
  readonly page: number
  readonly count: number
}

/**
 * Whether a page is the process's own: copied on write or anonymous, in memory or swapped out. The
 * soft-dirty bit (55) says nothing about that and is not looked at.
 *
 * @param high upper 32 bits of the pagemap word
 */
export function isPrivatePage(high: number): boolean {
  if ((high & swapped) !== 0) return true
  return (high & present) !== 0 && (high & ofFile) === 0
}

/** Appends the private runs of a chunk of words, joining a run that the chunk before left open. */
export function collectPrivateRuns(words: Uint32Array, firstPage: number, runs: PageRun[]): void {
  const pages = words.length / 2
  for (let page = 0; page < pages; page += 1) {
    if (!isPrivatePage(words[page * 2 + 1] ?? 0)) continue
    const start = page
    while (page + 1 < pages && isPrivatePage(words[(page + 1) * 2 + 1] ?? 0)) page += 1
    appendRun(runs, firstPage + start, page - start + 1)
  }
}

/**
 * The private pages of an address range, ascending. Asks the kernel for runs where it knows how, or reads
 * 2 KiB for each MiB of the range.
 *
 * @param zeroIsNothing whether the kernel's page of zeros is left out; without the kernel's help it is not
 * @throws ErrnoError `ENOENT`, `EACCES`
 */
export function readPrivateRuns(pid: number, start: number, end: number, zeroIsNothing = false): PageRun[] {
  return withPagemap(pid, (fd) => scanRuns(fd, start, end, zeroIsNothing) ?? readRuns(fd, start, end))
}

/** The same out of the words of the page map, for any kernel. */
export function readPrivateWords(pid: number, start: number, end: number): PageRun[] {
  return withPagemap(pid, (fd) => readRuns(fd, start, end))
}

function withPagemap(pid: number, read: (fd: number) => PageRun[]): PageRun[] {
  const fd = openSync(`/proc/${pid}/pagemap`, 'r')
  try {
    return read(fd)
  } finally {
    closeSync(fd)
  }
}

function scanRuns(fd: number, start: number, end: number, zeroIsNothing: boolean): PageRun[] | undefined {
  const runs: PageRun[] = []
  const visit = (from: number, to: number) => appendRun(runs, (from - start) / pageBytes, (to - from) / pageBytes)
  const isDone = scanPrivate(fd, start, end, visit, zeroIsNothing)
  return isDone ? runs : undefined
}

function readRuns(fd: number, start: number, end: number): PageRun[] {
  const runs: PageRun[] = []
  const words = new Uint32Array(chunkWords * 2)
  const total = (end - start) / pageBytes
  for (let page = 0; page < total; ) {
    const wanted = Math.min(chunkWords, total - page) * wordBytes
    const got = readSync(fd, words, 0, wanted, (start / pageBytes + page) * wordBytes)
    if (got < wordBytes) break
    const pages = Math.floor(got / wordBytes)
    collectPrivateRuns(words.subarray(0, pages * 2), page, runs)
    page += pages
  }
  return runs
}

/** Joined to the last run when it follows that without a gap. */
function appendRun(runs: PageRun[], page: number, count: number): void {
  const last = runs[runs.length - 1]
  if (last === undefined || last.page + last.count !== page) runs.push({ page, count })
  else runs[runs.length - 1] = { page: last.page, count: last.count + count }
}
