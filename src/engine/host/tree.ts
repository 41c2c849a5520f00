import type { Tree, TreeNode } from '../../api/tree.ts'
import type { Ancestor, ImageRecord, SnapshotRecord, TemplateRecord, VmRecord } from '../records.ts'
import { imageRef } from '../vm/vm-view.ts'

export interface TreeSources {
  images: readonly ImageRecord[]
  templates: readonly TemplateRecord[]
  vms: readonly VmRecord[]
  snapshots: readonly SnapshotRecord[]
}

/**
 * What came from what, parents first. A vm hangs on what it was forked from or restored of, or on its image, a snapshot
 * on its vm; what is gone is shown as `removed` in its place, as far as its descendants tell, so that they stay together.
 */
export function lineage(sources: TreeSources): Tree {
  const nodes = new Map<string, TreeNode>()
  for (const image of sources.images) {
    nodes.set(image.id, { kind: 'image', id: image.id, name: imageRef(image), state: 'ready', generation: 0 })
  }
  for (const template of sources.templates) nodes.set(template.id, templateNode(template))
  for (const vm of sources.vms) nodes.set(vm.id, vmNode(vm))
  for (const snapshot of sources.snapshots) nodes.set(snapshot.id, snapshotNode(snapshot))
  const records = [...sources.templates, ...sources.vms, ...sources.snapshots.map(descentOf)]
  const remembered = remember(records)
  for (const record of records) {
    for (let node = nodes.get(record.id); node?.parentId !== undefined; ) {
      if (nodes.has(node.parentId)) break
      const image = nodes.has(record.imageId) ? record.imageId : undefined
      const childGeneration = node.relation === 'snapshot' ? node.generation + 1 : node.generation
      node = removedNode(node.parentId, childGeneration, remembered.get(node.parentId), image)
      nodes.set(node.id, node)
    }
  }
  return { nodes: parentsFirst([...nodes.values()]) }
}

interface Remembered {
  kind: TreeNode['kind']
  name: string
  parentId?: string | undefined
}

/** What a record says of where it came from. */
interface Descent {
  id: string
  imageId: string
  source?: { kind: TreeNode['kind']; id: string; name: string }
  ancestors?: Ancestor[]
}

function descentOf({ id, vm }: SnapshotRecord): Descent {
  const source = { kind: 'vm' as const, id: vm.id, name: vm.name }
  return { id, imageId: vm.imageId, source, ancestors: [...(vm.ancestors ?? []), source] }
}

/** All that the records say of what they came from. */
function remember(records: readonly Descent[]): Map<string, Remembered> {
  const remembered = new Map<string, Remembered>()
  for (const { source } of records) if (source !== undefined) remembered.set(source.id, source)
  for (const { ancestors = [] } of records) {
    for (const [index, { id, kind, name }] of ancestors.entries()) {
      const parentId = ancestors[index - 1]?.id ?? remembered.get(id)?.parentId
      remembered.set(id, { kind, name, parentId })
    }
  }
  return remembered
}

/** @param image where it hangs when nobody knows better */
function removedNode(
  id: string,
  childGeneration: number,
  known: Remembered | undefined,
  image: string | undefined,
): TreeNode {
  const kind = known?.kind ?? 'template'
  const parentId = known?.parentId ?? (kind === 'image' ? undefined : image)
  return {
    kind,
    id,
    name: known?.name ?? id,
    ...(parentId === undefined ? {} : { parentId }),
    state: 'removed',
    generation: Math.max(0, childGeneration - 1),
  }
}

function templateNode(template: TemplateRecord): TreeNode {
  return {
    kind: 'template',
    id: template.id,
    name: template.name,
    parentId: template.parentId ?? template.imageId,
    relation: template.parentId === undefined ? 'boot' : 'template',
    state: template.state,
    generation: template.generation,
  }
}

function snapshotNode({ id, name, state, vm }: SnapshotRecord): TreeNode {
  return { kind: 'snapshot', id, name, parentId: vm.id, relation: 'snapshot', state, generation: vm.generation }
}

function vmNode(vm: VmRecord): TreeNode {
  const { source, parentId } = vm
  const common = { kind: 'vm' as const, id: vm.id, name: vm.name, state: vm.state, generation: vm.generation }
  if (source.kind === 'snapshot') return { ...common, parentId: source.id, relation: 'restore' }
  if (parentId !== undefined) return { ...common, parentId, relation: 'fork' }
  if (source.kind === 'vm') return { ...common, parentId: source.id, relation: 'clone' }
  return { ...common, parentId: vm.imageId, relation: 'boot' }
}

function parentsFirst(nodes: readonly TreeNode[]): TreeNode[] {
  // By name, the way people count: child-2 before child-10.
  const byName = nodes.toSorted((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }))
  const children = Map.groupBy(byName, (node) => node.parentId)
  const ordered: TreeNode[] = []
  const add = (node: TreeNode): void => {
    ordered.push(node)
    for (const child of children.get(node.id) ?? []) add(child)
  }
  for (const root of children.get(undefined) ?? []) add(root)
  return ordered
}

/** The part of a tree that has to do with one node: its ancestors, itself and its descendants. */
export function around(tree: Tree, id: string): Tree {
  const byId = new Map(tree.nodes.map((node) => [node.id, node]))
  const wanted = new Set<string>([id])
  for (let node = byId.get(id); node?.parentId !== undefined; node = byId.get(node.parentId)) wanted.add(node.parentId)
  const below = new Set<string>([id])
  for (const node of tree.nodes) if (node.parentId !== undefined && below.has(node.parentId)) below.add(node.id)
  return { nodes: tree.nodes.filter((node) => wanted.has(node.id) || below.has(node.id)) }
}
