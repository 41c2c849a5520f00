/** A checkpoint loaded whole, into a base that any number of guests map: for those that do not run before. */
import { BaseWriter, type OpenBase, pageBytes, type Run } from '../../memory/base.ts'
import { StoredBasePages } from '../../memory/stored-base-pages.ts'
import type { StreamParts } from '../../qemu/migration-stream/encode.ts'
import { limits } from '../../shared/limits.ts'
import type { PageMap } from '../file/page-map.ts'
import { FileSource } from '../file/range-source.ts'
import { Checkpoint } from '../file/read.ts'
import { DecodePool } from '../serve/decode-pool.ts'

export interface LoadOptions {
  /** checkpoint file of this host */
  readonly path: string
  /** that the file must have, hex */
  readonly digest: string
  /** id of the base to make */
  readonly id: string
  /** stored base that pages are read from which are not in the file */
  readonly base?: { readonly path: string; readonly id: string }
  readonly signal?: AbortSignal
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void
}

export interface LoadedCheckpoint {
  /** sealed; the caller's */
  readonly base: OpenBase
  /** what a QEMU that maps the base loads beside it */
  readonly stream: StreamParts
}

/**
 * Makes a sealed base of all memory of a checkpoint. Blocks are decompressed by several threads, in the order of the
 * file, and written wherever their pages belong.
 *
 * @throws RametError `CHECKPOINT_DAMAGED`, `BASE_DAMAGED`, `NO_CAPACITY`, `NOT_FOUND`; the signal's reason. Nothing is left
 *   then.
 */
export async function loadCheckpoint(options: LoadOptions): Promise<LoadedCheckpoint> {
  const { path, digest, id, signal } = options
  await using source = await FileSource.open(path)
  const checkpoint = await Checkpoint.open(source, { digest })
  const { manifest, pages } = checkpoint
  const [deviceBlob, roms] = await Promise.all([checkpoint.readDeviceState(signal), checkpoint.readRoms(signal)])
  const { machine, memoryBytes } = manifest.machine
  using writer = await BaseWriter.create({
    id,
    sizeBytes: memoryBytes,
    data: runsWithData(pages),
    ...(signal === undefined ? {} : { signal }),
  })
  const totalBytes = (pages.pageCount - pages.zeroCount) * pageBytes
  const progress = { doneBytes: 0, tell: (bytes: number) => options.onProgress?.(bytes, totalBytes) }
  const into: Into = {
    write: (bytes, page) => {
      signal?.throwIfAborted()
      writer.place(bytes, page * pageBytes)
      progress.doneBytes += bytes.length
    },
    tell: () => progress.tell(progress.doneBytes),
  }
  await loadBlocks(checkpoint, source, into)
  if (pages.baseCount > 0) await loadBasePages(pages, options.base, manifest.base?.digest, into)
  return { base: writer.seal(), stream: { machine, blocks: manifest.ramBlocks, pages: roms, deviceBlob } }
}

interface Into {
  /** @param page number of the first */
  write: (bytes: Buffer, page: number) => void
  tell: () => void
}

/** Memory for these is reserved; all else stays a hole. */
function runsWithData(pages: PageMap): Run[] {
  const runs: Run[] = []
  let start = -1
  for (let page = 0; page <= pages.pageCount; page += 1) {
    const hasData = page < pages.pageCount && pages.kindOf(page) !== 'zero'
    if (hasData && start < 0) start = page
    if (hasData || start < 0) continue
    runs.push({ offsetBytes: start * pageBytes, lengthBytes: (page - start) * pageBytes })
    start = -1
  }
  return runs
}

async function loadBlocks(checkpoint: Checkpoint, source: FileSource, into: Into): Promise<void> {
  const { pages } = checkpoint
  await using pool = new DecodePool(limits.pageServerWorkerCount)
  const blocks = Array.from({ length: pages.blockCount }, (_, block) => block).values()
  let failed = false
  const loadNext = async () => {
    for (const block of blocks) {
      if (failed) return
      const { offsetBytes, storedBytes, ...seal } = checkpoint.sealOf(block)
      const stored = { fd: source.fd, offsetBytes, lengthBytes: storedBytes }
      const { raw } = pool.decode({ ...seal, block, stored }, 'demand')
      placePages(await raw, pages.pagesOf(block), into)
      into.tell()
    }
  }
  const inTurn = async () => {
    try {
      await loadNext()
    } catch (error) {
      failed = true
      throw error
    }
  }
  // One more than there are threads, so that none waits for this one. All are over before the file is closed.
  const ends = await Promise.allSettled(Array.from({ length: limits.pageServerWorkerCount + 1 }, inTurn))
  for (const end of ends) if (end.status === 'rejected') throw end.reason
}

/** Pages that follow one another in the block and in memory are written at once. */
function placePages(raw: Buffer, pages: Uint32Array, into: Into): void {
  let start = 0
  for (let slot = 1; slot <= pages.length; slot += 1) {
    if (slot < pages.length && pages[slot] === (pages[slot - 1] ?? 0) + 1) continue
    into.write(raw.subarray(start * pageBytes, slot * pageBytes), pages[start] ?? 0)
    start = slot
  }
}

/** In ascending order, so that each block of the base is read and checked once. */
async function loadBasePages(
  pages: PageMap,
  base: LoadOptions['base'],
  digest: string | undefined,
  into: Into,
): Promise<void> {
  if (base === undefined || digest === undefined) throw new TypeError('a checkpoint with pages of a base needs it')
  await using stored = await StoredBasePages.open(base.path, { id: base.id, digest })
  const bytes = Buffer.allocUnsafeSlow(pageBytes)
  for (let page = 0; page < pages.pageCount; page += 1) {
    if (pages.kindOf(page) !== 'base') continue
    await stored.read(page, bytes)
    into.write(bytes, page)
    if (page % tellEveryPages === 0) into.tell()
  }
  into.tell()
}

const tellEveryPages = 4096
