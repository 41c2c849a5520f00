/**
 * What a QEMU inherits so that it may use userfaultfd without a privilege of its own: /dev/userfaultfd, opened by
 * this process, and a small library that takes QEMU's system call there (docs/decisions/0041).
 */
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { errnoOf, RametError } from '../shared/errors.ts'
import { createMemfd, immutableSeals, sealFile } from './memfd.ts'
import { runCommand } from './run-command.ts'

export const userfaultfdDevice = '/dev/userfaultfd'

/** Descriptors to hand on; they stay this process's, for all its life. */
export interface UserfaultfdLoan {
  readonly deviceFd: number
  /** sealed memory file with a shared library, to be named by `LD_PRELOAD` */
  readonly libraryFd: number
}

/** A loan, or why there is none. */
export type UserfaultfdOffer = UserfaultfdLoan | { readonly why: string }

let offer: Promise<UserfaultfdOffer> | undefined

/**
 * The loan of this process, made at the first call; compiling its library takes some 60 ms. Never rejects.
 *
 * @param deviceNumber descriptor under which the borrower will find the device
 */
export function offerUserfaultfd(deviceNumber: number): Promise<UserfaultfdOffer> {
  offer ??= makeLoan(deviceNumber)
  return offer
}

async function makeLoan(deviceNumber: number): Promise<UserfaultfdOffer> {
  let deviceFd: number
  try {
    deviceFd = openSync(userfaultfdDevice, 'r+')
  } catch (error) {
    return { why: `${userfaultfdDevice} cannot be opened (${errnoOf(error)})` }
  }
  try {
    return { deviceFd, libraryFd: await compileLibrary(deviceNumber) }
  } catch (error) {
    closeSync(deviceFd)
    return { why: `the library for userfaultfd cannot be compiled: ${error instanceof Error ? error.message : error}` }
  }
}

/** Sealed, so that no borrower can change what the others load. */
async function compileLibrary(deviceNumber: number): Promise<number> {
  const directory = await mkdtemp(join(tmpdir(), 'ramet-library-'))
  try {
    const output = join(directory, 'userfaultfd.so')
    const source = fileURLToPath(new URL('userfaultfd-shim.c', import.meta.url))
    const define = `-DRAMET_USERFAULTFD=${deviceNumber}`
    const flags = ['-O2', '-Wall', '-Werror', '-shared', '-fPIC', '-s', define]
    const { exitCode, errno, stderr } = await runCommand('cc', [...flags, '-o', output, source, '-ldl'])
    if (errno === 'ENOENT') throw new RametError('HOST_UNFIT', { message: 'there is no compiler `cc`' })
    if (exitCode !== 0) throw new RametError('HOST_UNFIT', { message: stderr.split('\n')[0] ?? 'the compiler failed' })
    const library = readFileSync(output)
    const fd = createMemfd('ramet-userfaultfd', library.length)
    writeSync(fd, library, 0, library.length, 0)
    sealFile(fd, immutableSeals)
    return fd
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}
