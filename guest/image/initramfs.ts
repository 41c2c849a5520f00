/** The first file system of a guest: the agent as `/init`, the modules it loads, for `micro` a busybox too. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { zstdDecompressSync } from 'node:zlib'
import type { RunCommand } from './command.ts'
import { type CpioEntry, writeCpio } from './cpio.ts'
import { guestModules, moduleLoadOrder } from './modules.ts'

/** Read by the agent: a module's absolute path in the initramfs a line, in load order. */
export const moduleListPath = 'etc/ramet/modules'

/**
 * @param extra further entries; directories they need that are not there yet come with them
 * @returns the archive, not compressed: under emulation unpacking costs more than reading
 */
export function composeInitramfs(
  agent: Buffer,
  modules: readonly { name: string; data: Buffer }[],
  extra: readonly CpioEntry[] = [],
): Buffer {
  const directories = ['dev', 'etc', 'etc/ramet', 'modules', 'proc', 'root', 'run', 'sys', 'tmp']
  const list = modules.map(({ name }) => `/modules/${name}\n`).join('')
  return writeCpio([
    ...directories.map((path): CpioEntry => ({ kind: 'directory', path, ...(path === 'tmp' ? { mode: 0o1777 } : {}) })),
    // The kernel opens it for process 1 before anything is mounted.
    { kind: 'character-device', path: 'dev/console', mode: 0o600, major: 5, minor: 1 },
    { kind: 'character-device', path: 'dev/null', mode: 0o666, major: 1, minor: 3 },
    { kind: 'file', path: 'init', mode: 0o755, data: agent },
    { kind: 'file', path: moduleListPath, data: Buffer.from(list) },
    ...modules.map(({ name, data }): CpioEntry => ({ kind: 'file', path: `modules/${name}`, data })),
    ...extra,
  ])
}

/** Reads the modules a guest needs from an unpacked kernel package, unpacked themselves, in load order. */
export async function collectModules(
  kernelRoot: string,
  release: string,
  run: RunCommand,
): Promise<{ name: string; data: Buffer }[]> {
  const dir = join(kernelRoot, 'lib', 'modules', release)
  const dep = await readFile(join(dir, 'modules.dep'), 'utf8')
  const builtin = await readFile(join(dir, 'modules.builtin'), 'utf8')
  const modules = []
  for (const path of moduleLoadOrder(guestModules, { dep, builtin })) {
    const file = path.slice(path.lastIndexOf('/') + 1)
    modules.push({ name: file.replace(/\.(xz|zst)$/, ''), data: await readModule(join(dir, path), run) })
  }
  return modules
}

async function readModule(path: string, run: RunCommand): Promise<Buffer> {
  if (path.endsWith('.zst')) return zstdDecompressSync(await readFile(path))
  if (!path.endsWith('.xz')) return readFile(path)
  // In the unpacked tree itself, which is the build's own copy.
  await run('xz', ['--decompress', '--keep', '--force', path])
  return readFile(path.slice(0, -'.xz'.length))
}
