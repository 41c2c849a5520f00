/**
 * The record of a restore for the next one of the same checkpoint.
 *
 * What is kept is what was asked for and what a policy brought along, in the order in which it was sent: what was brought in
 * time is never asked for, so the requests alone would tell less with every restore that goes well. Too much in it does no
 * harm, for a page that is pushed early is one that the fill would have sent anyway; only its order changes, and that is by
 * time. Zeros are in it too: they cost nine bytes, and are waited for like others.
 */
import { limits } from '../../shared/limits.ts'
import { Bitmap } from '../file/bitmap.ts'
import { readWorkingSetFile, type WorkingSet, writeWorkingSetFile } from '../file/working-set.ts'

/** Pages in the order in which they were first needed. */
export class Record {
  readonly #pages: number[] = []
  readonly #seen: Bitmap

  /** @param pageCount of guest RAM */
  constructor(pageCount: number) {
    this.#seen = new Bitmap(pageCount)
  }

  add(page: number): void {
    if (this.#seen.get(page)) return
    this.#seen.set(page)
    this.#pages.push(page)
  }

  /** New pages first: the earlier ones are what did not have to be asked for. */
  mergedWith(earlier: readonly number[], maxCount: number): Uint32Array {
    const before = earlier.filter((page) => !this.#seen.get(page))
    return Uint32Array.from([...this.#pages, ...before].slice(0, maxCount))
  }
}

export interface WorkingSetFile {
  readonly path: string
  /** of the checkpoint */
  readonly digest: string
  readonly pageCount: number
}

/** @returns the pages to push, those of the newest set first; none where there is no file that can be read */
export async function readExpected(file: WorkingSetFile): Promise<number[]> {
  const sets = await readSets(file)
  const met = new Bitmap(file.pageCount)
  const expected: number[] = []
  for (const { pages } of sets.toReversed()) {
    for (const page of pages) {
      if (met.get(page)) continue
      met.set(page)
      expected.push(page)
    }
  }
  return expected
}

/** Of restores that end at the same time each adds to what the one before has written. */
const writes = new Map<string, Promise<void>>()

/** @throws RametError `NO_SPACE`; errno errors; what was there stays then */
export async function writeRecord(file: WorkingSetFile, record: Record, neededPages: number): Promise<void> {
  const before = writes.get(file.path) ?? Promise.resolve()
  const write = before.catch(() => {}).then(() => merge(file, record, neededPages))
  writes.set(file.path, write)
  try {
    await write
  } finally {
    if (writes.get(file.path) === write) writes.delete(file.path)
  }
}

async function merge(file: WorkingSetFile, record: Record, neededPages: number): Promise<void> {
  const maxCount = Math.ceil(neededPages * limits.pageServerWorkingSetShare)
  const pages = record.mergedWith(await readExpected(file), maxCount)
  if (pages.length > 0) await writeWorkingSetFile(file.path, file.digest, [{ recordedAt: new Date(), pages }])
}

/** A hint only: who cannot read it goes on without. */
async function readSets({ path, digest, pageCount }: WorkingSetFile): Promise<WorkingSet[]> {
  try {
    return await readWorkingSetFile(path, digest, pageCount)
  } catch {
    return []
  }
}
