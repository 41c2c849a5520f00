/** File systems made without mounting: a tree becomes an ext4 file, that a qcow2 file. */
import { randomBytes } from 'node:crypto'
import { chmod, mkdir, open, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { RunCommand } from './command.ts'
import { asTreeOwner, ownsTreesItself } from './tree-owner.ts'

/** Mount points that a guest needs, whatever the archive holds. */
const mountPoints = ['dev', 'proc', 'sys', 'run', 'tmp']

export interface Tree {
  /** root of the unpacked tree */
  path: string
  /** where the tree's owner may write, the user read */
  dir: string
}

/**
 * Unpacks a tar file with owners, modes and extended attributes as they are in it.
 * Device nodes are left out: a namespace cannot make them, and a guest has devtmpfs.
 *
 * @param options.decompress option for tar: `--gzip`, …; absent for a plain file
 */
export async function unpackTree(
  tarFile: string,
  work: string,
  run: RunCommand,
  options: { decompress?: string; failureCode?: 'IMAGE_INVALID' } = {},
): Promise<Tree> {
  const dir = await createTreeDir(work)
  const path = join(dir, 'root')
  const runAsOwner = asTreeOwner(run)
  await runAsOwner('mkdir', ['-m', '755', path])
  const handle = await open(tarFile, 'r')
  try {
    const args = [
      ...['--extract', '--file', '-', '--directory', path],
      ...['--numeric-owner', '--same-owner', '--preserve-permissions', '--xattrs', '--xattrs-include=*'],
      ...['--anchored', '--exclude=./dev/*', '--exclude=dev/*', '--exclude=/dev/*'],
      ...(options.decompress === undefined ? [] : [options.decompress]),
    ]
    const { failureCode } = options
    await runAsOwner('tar', args, { stdinFd: handle.fd, ...(failureCode === undefined ? {} : { failureCode }) })
  } finally {
    await handle.close()
  }
  return { path, dir }
}

/** Makes an ext4 file of a tree. Everything is initialised now, so that no guest does it in its delta. */
export async function makeExt4(tree: Tree, diskBytes: number, uuid: string, run: RunCommand): Promise<string> {
  const runAsOwner = asTreeOwner(run)
  await runAsOwner('mkdir', ['-p', ...mountPoints.map((name) => join(tree.path, name))])
  const raw = join(tree.dir, 'disk.raw')
  const extended = `lazy_itable_init=0,lazy_journal_init=0,hash_seed=${uuid}`
  const args = ['-q', '-F', '-t', 'ext4', '-L', 'root', '-U', uuid, '-E', extended, '-d', tree.path]
  await runAsOwner('mke2fs', [...args, raw, `${Math.floor(diskBytes / 1024)}k`])
  await runAsOwner('rm', ['-rf', '--', tree.path])
  return raw
}

/** Turns a raw file into the image's disk: not compressed, as guests read it all the time. */
export async function convertToQcow2(raw: string, target: string, run: RunCommand): Promise<{ virtualBytes: number }> {
  await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', '-o', 'compat=1.1', raw, target])
  return { virtualBytes: (await stat(raw)).size }
}

/** A UUID of the digest's own: equal inputs give equal file systems. */
export function uuidOf(digest: string): string {
  const hex = digest.padEnd(32, '0').slice(0, 32)
  return [hex.slice(0, 8), hex.slice(8, 12), `4${hex.slice(13, 16)}`, `8${hex.slice(17, 20)}`, hex.slice(20)].join('-')
}

/** In a namespace the tree's owner is another user: she needs to write here, and nobody else may find the place. */
async function createTreeDir(work: string): Promise<string> {
  const dir = join(work, `tree-${randomBytes(16).toString('hex')}`)
  await mkdir(dir, { mode: 0o700 })
  await chmod(dir, ownsTreesItself() ? 0o700 : 0o777)
  return dir
}
