import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { FileSource } from '../../src/checkpoint/file/range-source.ts'
import { Checkpoint } from '../../src/checkpoint/file/read.ts'
import type { Snapshot, Vm } from '../../src/client/index.ts'
import type { Host } from './host.ts'

const run = promisify(execFile)
const pageBytes = 4096

export const snapshotDir = (host: Host, { id }: Snapshot) => join(host.dataDir, 'snapshots', id)

/** Every page that a checkpoint stores itself, by its SHA-256: all blocks are read, and checked. */
export async function storedPages(path: string): Promise<Set<string>> {
  await using source = await FileSource.open(path)
  const checkpoint = await Checkpoint.open(source)
  const found = new Set<string>()
  for (let block = 0; block < checkpoint.pages.blockCount; block += 1) {
    const bytes = await checkpoint.readBlock(block)
    for (let at = 0; at < bytes.length; at += pageBytes) found.add(sha256(bytes.subarray(at, at + pageBytes)))
  }
  return found
}

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

/** Fails unless each page of a file that a guest has in memory is among those stored. */
export async function assertInMemory(host: Host, snapshot: Snapshot, content: Uint8Array, when: string): Promise<void> {
  const stored = await storedPages(join(snapshotDir(host, snapshot), 'memory.ckpt'))
  const pages = Array.from({ length: content.length / pageBytes }, (_, page) =>
    content.subarray(page * pageBytes, (page + 1) * pageBytes),
  )
  const missing = pages.filter((page) => !stored.has(sha256(page)))
  assert.equal(missing.length, 0, `${when}: of ${pages.length} pages ${missing.length} are not in the snapshot`)
}

/** A file of a guest, as bytes. */
export function contentOf(vm: Vm, path: string): Promise<Uint8Array> {
  return vm.files.read(path, { format: 'bytes' })
}

/** MD5 of what a guest would read of a snapshot's disk. */
export async function diskDigest(host: Host, snapshot: Snapshot, index = 0): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'ramet-raw-'))
  try {
    const raw = join(dir, 'raw')
    await run('qemu-img', ['convert', '-O', 'raw', join(snapshotDir(host, snapshot), `disk${index}.qcow2`), raw])
    return (await run('md5sum', [raw])).stdout.slice(0, 32)
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}
