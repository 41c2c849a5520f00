import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { newId } from '../shared/ids.ts'
import { createDisk } from './create.ts'
import { type DiskLayer, readLayer } from './layer.ts'
import { sealInPlace } from './seal.ts'

// What the tests of this room share: a data directory in small, and the real tools as the judge.

const run = promisify(execFile)

export interface TestHome {
  readonly directory: string
  readonly roots: readonly string[]
  /** path of a disk in `kind/owner`, whose directory is made */
  path(kind: 'vms' | 'templates' | 'images', owner: string): Promise<string>
}

/** Runs `work` in an empty data directory, which is gone after it. */
export async function withHome(work: (home: TestHome) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'ramet-disk-'))
  try {
    await work({
      directory,
      roots: [join(directory, 'images'), join(directory, 'templates')],
      path: async (kind, owner) => {
        const path = join(directory, kind, owner, 'disk0.qcow2')
        await mkdir(dirname(path), { recursive: true })
        return path
      },
    })
  } finally {
    await rm(directory, { recursive: true })
  }
}

export async function qemuImg(...args: string[]): Promise<string> {
  return (await run('qemu-img', args)).stdout
}

/** Commands as qemu-io takes them, for instance `write -P 7 0 64k`. */
export async function qemuIo(path: string, commands: readonly string[]): Promise<void> {
  const args = commands.flatMap((command) => ['-c', command])
  const { stdout } = await run('qemu-io', ['-d', 'unmap', '-f', 'qcow2', ...args, path])
  assert.doesNotMatch(stdout, /failed|error|verification/i)
}

/** Whether two disks read alike, which `qemu-img compare` says by its exit code. */
export async function readAlike(one: string, other: string): Promise<boolean> {
  try {
    await qemuImg('compare', '-f', 'qcow2', '-F', 'qcow2', one, other)
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 1) return false
    throw error
  }
}

/** A sealed image of 64 MiB with some content. */
export async function sealedImage(home: TestHome, owner = 'img-a', virtualSize = '64M'): Promise<DiskLayer> {
  const path = await home.path('images', owner)
  await qemuImg('create', '-q', '-f', 'qcow2', path, virtualSize)
  await qemuIo(path, ['write -P 1 0 1M', 'write -P 2 8M 3M'])
  await sealInPlace(path, newId('base'))
  return readLayer(path)
}

/** An empty delta over a base. */
export async function deltaOver(home: TestHome, base: DiskLayer, owner = 'vm-a'): Promise<string> {
  const path = await home.path('vms', owner)
  await createDisk({ path, base })
  return path
}
