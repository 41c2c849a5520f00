import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Vm } from '../../src/client/index.ts'
import type { Tick } from './ticks.ts'

const source = fileURLToPath(new URL('guest-load.c', import.meta.url))
const program = '/bin/guest-load'
/** on a tmpfs: its pages are guest memory and nothing else */
const setFile = '/load/set'
const tickMs = 50

export const clusterBytes = 64 * 1024
const stride = 40_503

/** The programme that works in the guests, built like their agent. @param dir where to build it */
export async function buildGuestLoad(dir: string): Promise<Buffer> {
  const out = join(dir, 'guest-load')
  const args = ['-std=c11', '-D_GNU_SOURCE', '-Wall', '-Wextra', '-Werror', '-O2', '-static', '-s', '-o', out, source]
  await promisify(execFile)('musl-gcc', args)
  return await readFile(out)
}

/** Before the vm becomes a template: all of its descendants have it then. */
export async function installGuestLoad(vm: Vm, binary: Buffer): Promise<void> {
  await vm.files.write(program, binary, { mode: 0o755 })
  await vm.commands.run('mkdir -p /load && mount -t tmpfs -o size=95% tmpfs /load')
}

/** Writes as much guest memory, incompressible; the same pages again when called again. */
export async function fillMemory(vm: Vm, bytes: number, seed: number): Promise<void> {
  await vm.commands.run([program, 'fill', setFile, `${bytes}`, `${seed}`])
}

/** Writes the root device past the guest's page cache, incompressible, and flushes. */
export async function fillDisk(vm: Vm, offset: number, bytes: number, seed: number): Promise<void> {
  await vm.commands.run([program, 'disk-fill', '/dev/vda', `${offset}`, `${bytes}`, `${seed}`])
}

/** Clusters that `scatterDisk` writes, by number. */
export function spreadClusters(clusters: number, count: number, first: number): number[] {
  return Array.from({ length: count }, (_, index) => ((first + index) * stride) % clusters)
}

/** Writes `count` clusters full of `byte`, spread over the first `clusters` of the root device. */
export async function scatterDisk(vm: Vm, clusters: number, count: number, first: number, byte: number): Promise<void> {
  const numbers = [clusters, count, first, byte].map(String)
  await vm.commands.run([program, 'disk-scatter', '/dev/vda', ...numbers])
}

/** A loop in the guest that counts as fast as it can, and what it has told so far. */
export interface Work extends AsyncDisposable {
  ticks: Tick[]
}

/**
 * Each count is the writing of one page: of the memory that `fillMemory` filled, one after the other, or with 0
 * bytes always of the same one. In children made meanwhile it ends by itself.
 */
export async function startWork(vm: Vm, bytes: number): Promise<Work> {
  const ticks: Tick[] = []
  let rest = ''
  const handle = await vm.commands.run([program, 'work', setFile, `${bytes}`, `${tickMs}`], {
    background: true,
    captureBytes: 0,
    onStdout: (text) => {
      const atMs = performance.now()
      const lines = (rest + text).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) ticks.push({ atMs, count: Number(line) })
    },
  })
  return {
    ticks,
    [Symbol.asyncDispose]: async () => {
      await handle.kill()
      await handle.wait({ throwOnFailure: false })
    },
  }
}
