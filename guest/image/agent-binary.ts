/** The guest agent, built from its sources for an image. */
import { constants } from 'node:fs'
import { open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import { RametError } from '../../src/shared/errors.ts'
import type { RunCommand } from './command.ts'
import { digestOfTree } from './digest.ts'

export const defaultAgentDir = fileURLToPath(new URL('../agent', import.meta.url))

const elfMagic = Buffer.from('\x7fELF', 'latin1')
const interpreterSegment = 3

/** Stands for the sources: an image is built anew when they change. */
export async function agentDigest(agentDir: string): Promise<string> {
  try {
    return await digestOfTree(agentDir, isSource)
  } catch (error) {
    throw new RametError('IMAGE_BUILD_FAILED', { message: 'the guest agent’s sources cannot be read', cause: error })
  }
}

/** Its tests do not get into the program. */
function isSource(path: string): boolean {
  return !/^(fuzz|test)\//.test(path) && /(\.(c|h|mk)|(^|\/)Makefile)$/.test(path)
}

/** @throws RametError `IMAGE_BUILD_FAILED` also when the result would need libraries that a guest need not have */
export async function buildAgent(agentDir: string, workDir: string, run: RunCommand): Promise<Buffer> {
  const name = 'ramet-agent'
  // Make splits paths at blanks. Through this descriptor any directory has a name without.
  const directory = await open(workDir, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    await run('make', ['-C', agentDir, `OUT=/proc/${process.pid}/fd/${directory.fd}/${name}`])
  } finally {
    await directory.close()
  }
  const binary = await readFile(join(workDir, name))
  if (!isStaticElf(binary)) {
    throw new RametError('IMAGE_BUILD_FAILED', { message: 'the guest agent is not a static ELF program' })
  }
  return binary
}

/** Whether it is a 64-bit ELF program without an interpreter. */
export function isStaticElf(binary: Buffer): boolean {
  if (binary.length < 64 || !binary.subarray(0, 4).equals(elfMagic) || binary.readUInt8(4) !== 2) return false
  const tableAt = Number(binary.readBigUInt64LE(32))
  const entryBytes = binary.readUInt16LE(54)
  const count = binary.readUInt16LE(56)
  for (let index = 0; index < count; index += 1) {
    const at = tableAt + index * entryBytes
    if (at + 4 > binary.length || binary.readUInt32LE(at) === interpreterSegment) return false
  }
  return true
}
