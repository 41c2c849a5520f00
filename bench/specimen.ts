import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Vm } from '../src/client/index.ts'

/** What the floor needs to know to do the same as a fork without Ramet: read off a child that runs. */
export interface Specimen {
  /** the child's QEMU */
  pid: number
  /** its arguments, without the program's name */
  args: string[]
  /** file names of its deltas, relative to its directory, each with the base under it */
  disks: { name: string; basePath: string | undefined; sizeBytes: number }[]
  /** devices and firmware, as every child of the template loads them */
  stream: Buffer
}

/** @param dataDir data directory of the daemon */
export async function readSpecimen(child: Vm, dataDir: string): Promise<Specimen> {
  const { pid, templateId } = child.info
  if (pid === undefined || templateId === undefined) throw new Error(`${child.name} is no child that runs`)
  const [, ...args] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1)
  const names = child.info.disks.map((_, index) => `disk${index}.qcow2`)
  return {
    pid,
    args,
    disks: await Promise.all(names.map((name) => readDisk(join(dataDir, 'vms', child.id), name))),
    stream: readFileSync(join(dataDir, 'templates', templateId, 'devices.stream')),
  }
}

async function readDisk(dir: string, name: string): Promise<Specimen['disks'][number]> {
  const { stdout } = await promisify(execFile)('qemu-img', ['info', '-U', '--output=json', join(dir, name)])
  const info = JSON.parse(stdout)
  return { name, basePath: info['full-backing-filename'], sizeBytes: info['virtual-size'] }
}
