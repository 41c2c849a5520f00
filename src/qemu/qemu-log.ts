import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { errnoOf } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { machineFiles } from './machine.ts'

const { O_APPEND, O_CREAT, O_NOFOLLOW, O_RDONLY, O_WRONLY } = constants

/** No more than this is read for the tail that goes into an error. */
const tailReadBytes = 16 * 1024

/**
 * Opens the log of a vm's QEMU for its standard output and error. Appending, so that shortening the file
 * while QEMU writes leaves no hole; never through a link, since the directory belongs to the vm's user.
 */
export function openLog(dir: string): number {
  return openSync(join(dir, machineFiles.log), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0o600)
}

/** The last lines that QEMU wrote, without control characters; empty when there is no log. */
export function logTail(dir: string, lineCount: number = limits.consoleTailLines): string[] {
  const fd = openForReading(dir)
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

function openForReading(dir: string): number | undefined {
  try {
    return openSync(join(dir, machineFiles.log), O_RDONLY | O_NOFOLLOW)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ELOOP') return undefined
    throw error
  }
}

/** QEMU warns at each start about a cable that ends nowhere, which is what an isolated vm is to have. */
const isTelling = (line: string) => line.length > 0 && !/hub \d+ is not connected to host network/.test(line)

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
const printable = (line: string) => line.replaceAll(/[\u0000-\u0008\u000b-\u001f\u007f]/g, '').trimEnd()
