/** Probes of the data directory and of the programs Ramet calls. */
import { accessSync, constants } from 'node:fs'
import { copyFile, mkdtemp, rm, statfs, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf } from '../shared/errors.ts'
import { formatBytes, limits } from '../shared/limits.ts'
import { type Finding, fine, missing, slow } from './finding.ts'
import { defaultPath } from './spawn-detached.ts'

/** Whether files of this directory can be copied by sharing their blocks. */
export async function canReflink(directory: string): Promise<boolean> {
  const scratch = await mkdtemp(join(directory, '.reflink-'))
  try {
    const source = join(scratch, 'source')
    await writeFile(source, Buffer.alloc(4096, 1))
    await copyFile(source, join(scratch, 'copy'), constants.COPYFILE_FICLONE_FORCE)
    return true
  } catch (error) {
    if (['ENOTSUP', 'EOPNOTSUPP', 'EXDEV', 'EINVAL', 'ENOTTY', 'ENOSYS'].includes(errnoOf(error) ?? '')) return false
    throw error
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

export async function reflinkFinding(directory: string): Promise<Finding> {
  const remedy = 'Put the data directory on XFS or Btrfs; without it deltas are copied byte by byte.'
  try {
    if (await canReflink(directory)) return fine('reflink', `${directory} can share blocks between files`)
    return slow('reflink', `${directory} cannot share blocks between files`, remedy)
  } catch (error) {
    return missing('reflink', `${directory} cannot be written (${errnoOf(error)})`, 'Choose another RAMET_DATA_DIR.')
  }
}

export async function diskSpaceFinding(directory: string): Promise<Finding> {
  try {
    const { bavail, bsize } = await statfs(directory)
    const finding = `${formatBytes(bavail * bsize)} are free in ${directory}`
    if (bavail * bsize >= limits.comfortableDiskBytes) return fine('disk', finding)
    return slow('disk', finding, 'Free space: an image takes about 1 GiB, a template as much as its memory.')
  } catch (error) {
    return missing('disk', `${directory} cannot be read (${errnoOf(error)})`, 'Choose another RAMET_DATA_DIR.')
  }
}

/** Programs that Ramet calls, with the Debian package of each. */
export const neededPrograms: Readonly<Record<string, string>> = {
  'qemu-system-x86_64': 'qemu-system-x86',
  'qemu-img': 'qemu-utils',
  setpriv: 'util-linux',
  mke2fs: 'e2fsprogs',
  cpio: 'cpio',
}

/** Where a program lies on the path, or undefined. */
export function findProgram(name: string, path = defaultPath): string | undefined {
  return path
    .split(':')
    .map((directory) => join(directory, name))
    .find((candidate) => {
      try {
        accessSync(candidate, constants.X_OK)
        return true
      } catch {
        return false
      }
    })
}

export function programsFinding(programs = neededPrograms, find = findProgram): Finding {
  const absent = Object.entries(programs).filter(([name]) => find(name) === undefined)
  if (absent.length === 0) return fine('programs', `all ${Object.keys(programs).length} programs needed are installed`)
  const packages = [...new Set(absent.map(([, name]) => name))]
  const finding = `not installed: ${absent.map(([name]) => name).join(', ')}`
  return missing('programs', finding, `Install them: apt-get install ${packages.join(' ')}`)
}
