import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { createDisk } from '../../disk/create.ts'
import { readLayer } from '../../disk/layer.ts'
import { qemuIo } from '../../disk/test-disks.ts'
import { diskFile } from '../../fork/disk-file.ts'
import { freezeDisks, prepareDiskPoint } from '../../fork/disk-point.ts'
import type { QemuProcess } from '../../qemu/process.ts'
import { assert } from '../../shared/assert.ts'
import type { VmRecord } from '../records.ts'
import type { TestEngine } from './test-engine.ts'

// Vms over fake QEMUs with one real disk each, which says in its first block whose it is.

const MiB = 1024 * 1024
const diskBytes = 64 * MiB

export const pathOf = ({ context }: TestEngine, vm: Pick<VmRecord, 'id'>, level = 0): string =>
  join(context.paths.vm(vm.id), diskFile(0, level))

/** As the guest would, had there been one. @param sizeMiB how much, all of it bytes of this value */
export const writeDisk = (path: string, value: number, sizeMiB = 1): Promise<void> =>
  qemuIo(path, [`write -P ${value} 0 ${sizeMiB}M`])

/** @throws AssertionError when the disk does not read so */
export const checkDisk = (path: string, value: number): Promise<void> => qemuIo(path, [`read -P ${value} 0 1M`])

/** A vm that runs, unless told, with its disk full of a value. */
export async function diskVm(engine: TestEngine, name: string, value: number, sizeMiB = 1): Promise<VmRecord> {
  const vm = await engine.createVm({ name, disks: [{ sizeBytes: diskBytes }] })
  await writeDisk(pathOf(engine, vm), value, sizeMiB)
  return vm
}

export function qemuOf(engine: TestEngine, vm: Pick<VmRecord, 'id'>): QemuProcess {
  const qemu = engine.parts.runtimes.get(vm.id)?.qemu
  assert(qemu !== undefined, 'it runs')
  return qemu
}

/** Has the vm write to a level above the one that it writes to. */
export async function freeze(engine: TestEngine, vm: VmRecord): Promise<void> {
  const qemu = qemuOf(engine, vm)
  await prepareDiskPoint(qemu, [0])
  await freezeDisks(qemu, [0])
}

/** The disk of a vm becomes an empty one over a frozen delta, as that of a child is. */
export async function standOn(engine: TestEngine, vm: VmRecord, delta: string): Promise<void> {
  const { paths, vms } = engine.context
  const path = pathOf(engine, vm)
  await mkdir(paths.vm(vm.id), { recursive: true })
  await rm(path, { force: true })
  await createDisk({ path, base: await readLayer(paths.delta(delta)) })
  await vms.update(vm.id, { disks: [{ sizeBytes: diskBytes, frozen: [delta] }] })
}

/** A vm that has lent its disk, with a value of its own over it by now, and a child that stands on it. */
export async function family(engine: TestEngine): Promise<{ parent: VmRecord; child: VmRecord; delta: string }> {
  const parent = await diskVm(engine, 'parent', 1)
  const child = await diskVm(engine, 'child', 9)
  await freeze(engine, parent)
  const delta = await engine.parts.deltas.lend(parent.id, 0)
  await standOn(engine, child, delta)
  await writeDisk(pathOf(engine, parent, 1), 2)
  return { parent, child, delta }
}
