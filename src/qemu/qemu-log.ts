import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { errnoOf } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { machineFiles } from './machine.ts'

const { O_APPEND, O_CREAT, O_NOFOLLOW, O_EXCL, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants

/** No more than this is read for the tail that goes into an error. */
const tailReadBytes = 16 * 1024

/**
 * Opens the log of a vm's QEMU for its standard output and error. Appending, so that shortening the file
 * while QEMU writes leaves no hole. The directory belongs to the vm's user: what lies there under this name and is no
 * plain file with this one name (a link, a pipe on which opening would wait) is replaced by one.
 *
 * @throws errno errors, `EISDIR` for a directory
 */
export function openLog(dir: string): number {
  const path = join(dir, machineFiles.log)
  const fd = openPlain(path, O_WRONLY | O_CREAT | O_APPEND)
  if (fd !== undefined) return fd
  rmSync(path, { force: true })
  return openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW, 0o600)
}

/** The last lines that QEMU wrote, without control characters; empty when there is no log. */
export function logTail(dir: string, lineCount: number = limits.consoleTailLines): string[] {
  const fd = openPlain(join(dir, machineFiles.log), O_RDONLY)
  if (fd === undefined) return []
  try {
    const sizeBytes = fstatSync(fd).size
    const buffer = Buffer.alloc(Math.min(sizeBytes, tailReadBytes))
    const readBytes = readSync(fd, buffer, 0, buffer.length, sizeBytes - buffer.length)
    const lines = buffer.subarray(0, readBytes).toString('utf8').split('\n')
    return lines.map(printable).filter(isTelling).slice(-lineCount)
  } finally {
    closeSync(fd)
  }
}

/** Empties a log that has passed the limit. A guest can make QEMU complain as often as it likes. */
export function capLog(dir: string, maxBytes: number = limits.vmmLogBytes): boolean {
  const fd = openLog(dir)
  try {
    if (fstatSync(fd).size <= maxBytes) return false
    ftruncateSync(fd, 0)
    return true
  } finally {
    closeSync(fd)
  }
}

/** Undefined when there is nothing, or something else than a plain file of one name. Never waits. */
function openPlain(path: string, flags: number): number | undefined {
  let fd: number
  try {
    fd = openSync(path, flags | O_NOFOLLOW | O_NONBLOCK, 0o600)
  } catch (error) {
    if (['ENOENT', 'ELOOP', 'ENXIO', 'EOPNOTSUPP'].includes(errnoOf(error) ?? '')) return undefined
    throw error
  }
  const stat = fstatSync(fd)
  if (stat.isFile() && stat.nlink === 1) return fd
  closeSync(fd)
  return undefined
}

/** QEMU warns at each start about a cable that ends nowhere, which is what an isolated vm is to have. */
const isTelling = (line: string) => line.length > 0 && !/hub \d+ is not connected to host network/.test(line)

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
const printable = (line: string) => line.replaceAll(/[\u0000-\u0008\u000b-\u001f\u007f]/g, '').trimEnd()
