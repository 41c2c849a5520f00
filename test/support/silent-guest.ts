/**
 * A guest that is nothing but one program on a kernel, its memory in a file of ours: for tests that look into
 * the memory of a guest and compare with what it says about itself.
 */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, rmSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { commandRunner, openBuildLog } from '../../guest/image/command.ts'
import { writeCpio } from '../../guest/image/cpio.ts'
import { extractKernel } from '../../guest/image/kernel-image.ts'
import { fetchKernel } from '../../guest/image/kernel-package.ts'
import { createMemfd } from '../../src/host/memfd.ts'
import { repositoryRoot } from '../../tools/rules/source.ts'
import { cacheDirectory } from './environment.ts'

const run = promisify(execFile)
const lastLine = /^E\r?$/m

/** A kernel as it is shipped, which places itself at random, and taken out of that file, which cannot. */
export interface Kernels extends AsyncDisposable {
  packed: string
  bare: string
  initrd: string
}

/** Unpacks the image builder's kernel, and packs the program as everything there is in a guest. */
export async function prepareKernels(program: string): Promise<Kernels> {
  const workshop = await mkdtemp(join(tmpdir(), 'ramet-kernels-'))
  try {
    await using log = await openBuildLog(join(workshop, 'log'))
    const kernel = await fetchKernel(cacheDirectory, commandRunner(log), () => {})
    await run('dpkg-deb', ['-x', kernel.debPath, join(workshop, 'package')])
    const packed = join(workshop, 'package', 'boot', `vmlinuz-${kernel.release}`)
    const bare = extractKernel(await readFile(packed))
    if (bare === undefined) throw new Error('the kernel cannot be unpacked')
    const init = join(workshop, 'init')
    await run('musl-gcc', [...'-static -O2 -Wall -Werror -o'.split(' '), init, join(repositoryRoot, program)])
    const initrd = writeCpio([
      { kind: 'directory', path: 'dev' },
      { kind: 'character-device', path: 'dev/console', major: 5, minor: 1 },
      { kind: 'character-device', path: 'dev/ttyS1', major: 4, minor: 65 },
      { kind: 'file', path: 'init', mode: 0o755, data: await readFile(init) },
    ])
    const paths = { packed, bare: join(workshop, 'bare'), initrd: join(workshop, 'initrd') }
    await writeFile(paths.bare, bare)
    await writeFile(paths.initrd, initrd)
    return { ...paths, [Symbol.asyncDispose]: () => rm(workshop, { recursive: true, force: true }) }
  } catch (error) {
    await rm(workshop, { recursive: true, force: true })
    throw error
  }
}

export interface SilentGuestOptions {
  kernel: string
  initrd: string
  sizeBytes: number
  cpu: string
  /** added to the kernel's command line */
  append?: string
}

export interface SilentGuest extends AsyncDisposable {
  /** memory file with the guest's RAM */
  memoryFd: number
  /** what its program said */
  report: string
}

/** Boots it, waits for the end of its report, and holds it there: its processor never runs again. */
export async function runSilentGuest(options: SilentGuestOptions): Promise<SilentGuest> {
  const { kernel, initrd, sizeBytes, cpu, append = '' } = options
  const memoryFd = createMemfd('ramet-test-guest', sizeBytes)
  const directory = mkdtempSync(join(tmpdir(), 'ramet-guest-'))
  const child = spawn(
    'qemu-system-x86_64',
    [
      ...['-nodefaults', '-no-user-config', '-display', 'none', '-accel', 'tcg', '-cpu', cpu],
      ...['-machine', 'pc-q35-7.2,memory-backend=mem', '-m', `${sizeBytes / 1024}k`],
      ...['-object', `memory-backend-file,id=mem,size=${sizeBytes},share=on,mem-path=/proc/self/fd/3`],
      ...['-kernel', kernel, '-initrd', initrd, '-no-reboot'],
      ...['-append', `console=ttyS0 quiet panic=-1 cryptomgr.notests transparent_hugepage=madvise ${append}`],
      ...['-serial', `file:${join(directory, 'console')}`, '-serial', 'stdio'],
    ],
    { stdio: ['ignore', 'pipe', 'inherit', memoryFd] },
  )
  const end = async () => {
    const ended = child.exitCode !== null || child.signalCode !== null ? undefined : once(child, 'exit')
    child.kill('SIGKILL')
    await ended
    closeSync(memoryFd)
    rmSync(directory, { recursive: true, force: true })
  }
  try {
    let report = ''
    for await (const text of child.stdout?.setEncoding('utf8') ?? []) {
      report += text
      if (lastLine.test(report)) break
    }
    child.kill('SIGSTOP')
    if (!lastLine.test(report)) {
      throw new Error(
        `the guest ended early: ${report.slice(-500)}\n${await readFile(join(directory, 'console'), 'utf8')}`,
      )
    }
    return { memoryFd, report, [Symbol.asyncDispose]: end }
  } catch (error) {
    await end()
    throw error
  }
}
