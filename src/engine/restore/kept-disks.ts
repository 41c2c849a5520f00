import { link, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { syncDirectory } from '../../disk/files.ts'

// A vm that goes back to a snapshot gets other disks before it is certain that its guest can run on them. Those it had
// stay under a second name until then: links, so that each step can be repeated, and none is ever nowhere.

/** A disk of a vm, of whatever level. */
const isDisk = (name: string) => /^disk\d+(\.\d+)?\.qcow2$/.test(name)

const keptSuffix = '.before'
const isKept = (name: string) => name.endsWith(keptSuffix) && isDisk(name.slice(0, -keptSuffix.length))

/**
 * Gives the disks of a vm that does not run their second names.
 *
 * @param dir of the vm
 */
export async function keepDisks(dir: string): Promise<void> {
  await dropKeptDisks(dir)
  for (const name of (await readdir(dir)).filter(isDisk)) await link(join(dir, name), join(dir, name + keptSuffix))
  await syncDirectory(dir)
}

/**
 * Makes the disks of a vm those that were kept, and no others. Only when all were: it removes what has no second name.
 * They keep it, so that this can be repeated after a crash.
 */
export async function putBackDisks(dir: string): Promise<void> {
  const names = await readdir(dir)
  const kept = new Set(names.filter(isKept))
  for (const name of kept) {
    const between = join(dir, `${name}.tmp`)
    await rm(between, { force: true })
    await link(join(dir, name), between)
    await rename(between, join(dir, name.slice(0, -keptSuffix.length)))
    // To rename one name of a file to another of the same file does nothing.
    await rm(between, { force: true })
  }
  for (const name of names) if (isDisk(name) && !kept.has(name + keptSuffix)) await rm(join(dir, name), { force: true })
  await syncDirectory(dir)
}

/** Takes the second names away. A vm without a directory has none. */
export async function dropKeptDisks(dir: string): Promise<void> {
  const names = await readdir(dir).catch(() => [])
  for (const name of names) if (isKept(name)) await rm(join(dir, name), { force: true })
}
