import { existsSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import type { Layer, VmLayers } from '../../api/layers.ts'
import { openChain } from '../../disk/chain.ts'
import type { DiskLayer } from '../../disk/layer.ts'
import { privateDiskBytes } from '../../disk/usage.ts'
import { diskFile } from '../../fork/disk-file.ts'
import { residentBytes } from '../../memory/base.ts'
import { asRametError } from '../../shared/errors.ts'
import type { EngineContext } from '../context.ts'
import type { StatsReader } from '../host/stats.ts'
import type { EngineParts } from '../parts.ts'
import type { DiskBase, DiskRecord, VmRecord } from '../records.ts'
import { liveStates } from '../state.ts'
import { diskName, imageRef } from '../vm/vm-view.ts'

/** What the memory and the disks of a vm stand on, and who else does. */
export async function readLayers(
  parts: EngineParts,
  vm: VmRecord,
  stats: Pick<StatsReader, 'memory'>,
): Promise<VmLayers> {
  const disks: VmLayers['disks'] = []
  for (const index of vm.disks.keys()) {
    const name = diskName(index)
    try {
      disks.push({ name, layers: await diskLayers(parts, vm, index) })
    } catch (error) {
      disks.push({ name, layers: [], problem: asRametError(error).message })
    }
  }
  return { memory: await memoryLayers(parts, vm, stats), disks }
}

async function memoryLayers(parts: EngineParts, vm: VmRecord, stats: Pick<StatsReader, 'memory'>): Promise<Layer[]> {
  if (!liveStates.has(vm.state)) return []
  const delta: Layer = { role: 'delta', owner: ownerOf(vm), allocatedBytes: stats.memory(vm).guestPrivateBytes }
  if (vm.baseId === undefined) return [delta]
  const { vms, templates } = parts.context
  const users = namesOf(vms.list().filter(({ id, baseId }) => id !== vm.id && baseId === vm.baseId))
  const template = templates.list().find(({ baseId }) => baseId === vm.baseId)
  if (template !== undefined) {
    const owner = { kind: 'template' as const, id: template.id, name: template.name }
    return [delta, { role: 'base', owner, allocatedBytes: template.baseBytes, users }]
  }
  const base = await parts.bases.ofVm(vm)
  const allocatedBytes = base === undefined ? 0 : residentBytes(base)
  return [delta, { role: 'base', owner: { kind: 'catalogue', id: vm.baseId }, allocatedBytes, users }]
}

/**
 * The layers of one disk, its own delta first: levels of the vm that are over its level 0 for a while, that one, and
 * what it stands on. What the files say decides, not what the record expects of them.
 *
 * @throws RametError as `openChain`
 */
async function diskLayers(parts: EngineParts, vm: VmRecord, index: number): Promise<Layer[]> {
  const file = (level: number) => join(parts.context.paths.vm(vm.id), diskFile(index, level))
  // It is made at the first start.
  if (!existsSync(file(0))) return []
  const chain = await openChain(file(0), baseRoots(parts.context))
  const above: Layer[] = []
  for (const path of [2, 1].map(file).filter((path) => existsSync(path)))
    above.push({ role: 'delta', owner: ownerOf(vm), path, allocatedBytes: await privateDiskBytes(path) })
  const { lent } = vm.disks[index] ?? {}
  const [own, ...below] = chain.layers
  const { path, allocatedBytes } = own
  const level0: Layer =
    lent === undefined
      ? { role: 'delta', owner: ownerOf(vm), path, allocatedBytes }
      : frozenLayer(parts, vm, lent, { path, allocatedBytes })
  return [...above, level0, ...(await Promise.all(below.map((layer) => layerBelow(parts, vm, layer))))]
}

const baseRoots = ({ paths }: EngineContext) => [paths.imagesDir, paths.templatesDir, paths.deltasDir]

type LayerFile = Pick<DiskLayer, 'path' | 'allocatedBytes'>

/** Says of a file under a vm's own whose it is, by where it lies. */
async function layerBelow(parts: EngineParts, vm: VmRecord, { path, allocatedBytes }: LayerFile): Promise<Layer> {
  const { paths, templates, images } = parts.context
  const dir = dirname(path)
  const id = basename(dir)
  if (dirname(dir) === paths.deltasDir) return frozenLayer(parts, vm, id, { path, allocatedBytes })
  const kind = dirname(dir) === paths.templatesDir ? 'template' : 'image'
  const image = images.get(id)
  const name = kind === 'template' ? templates.get(id)?.name : image && imageRef(image)
  const owner = { kind, id, ...(name === undefined ? {} : { name }) } as const
  return { role: 'base', owner, path, allocatedBytes, users: await usersOf(parts.context, path, [vm.id, id]) }
}

/** A delta that stands still for whoever collapses it, and for the vm that has lent it. */
function frozenLayer({ context, deltas }: EngineParts, vm: VmRecord, id: string, file: LayerFile): Layer {
  const lenders = context.vms.list().filter(({ disks }) => disks.some(({ lent }) => lent === id))
  const users = namesOf([...deltas.users(id), ...lenders].filter((other) => other.id !== vm.id))
  return { role: 'frozen', owner: { kind: 'catalogue', id }, ...file, users }
}

/** Vms, templates and snapshots whose disks stand on a file, directly or over a disk of a template, but for some ids. */
async function usersOf(context: EngineContext, path: string, except: readonly string[]): Promise<string[]> {
  const standing = new Map<string, Promise<boolean>>()
  const standsOn = async ({ base }: DiskRecord): Promise<boolean> => {
    if (base === undefined) return false
    const file = basePath(context, base)
    const known = standing.get(file) ?? isUnder(context, file, path)
    standing.set(file, known)
    return known
  }
  const namesOfUsers = async (things: readonly Pick<VmRecord, 'id' | 'name' | 'disks'>[]) => {
    const others = things.filter(({ id }) => !except.includes(id))
    const uses = await Promise.all(
      others.map(async ({ disks }) => (await Promise.all(disks.map(standsOn))).some(Boolean)),
    )
    return namesOf(others.filter((_, index) => uses[index]))
  }
  const snapshots = context.snapshots.list().map(({ id, name, vm }) => ({ id, name, disks: vm.disks }))
  return [
    ...(await namesOfUsers(context.vms.list())),
    ...(await namesOfUsers(context.templates.list())),
    ...(await namesOfUsers(snapshots)),
  ]
}

/** Whether the chain that begins with a file has another in it. */
async function isUnder(context: EngineContext, file: string, path: string): Promise<boolean> {
  if (file === path) return true
  const chain = await openChain(file, baseRoots(context)).catch(() => undefined)
  return chain?.layers.some((layer) => layer.path === path) ?? false
}

function basePath({ paths }: EngineContext, { owner, ownerId, file }: DiskBase): string {
  return join(owner === 'template' ? paths.template(ownerId) : paths.image(ownerId), file)
}

const ownerOf = ({ id, name }: VmRecord): Layer['owner'] => ({ kind: 'vm', id, name })

const namesOf = (things: readonly { name: string }[]): string[] =>
  things.map(({ name }) => name).sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
