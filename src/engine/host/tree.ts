import type { Tree, TreeNode } from '../../api/tree.ts'
import type { ImageRecord, TemplateRecord, VmRecord } from '../records.ts'
import { imageRef } from '../vm/vm-view.ts'

export interface TreeSources {
  images: readonly ImageRecord[]
  templates: readonly TemplateRecord[]
  vms: readonly VmRecord[]
}

/**
 * What came from what, parents first. A vm hangs on what it was forked from, or on its image; what is gone is
 * shown as `removed` in its place, as far as its descendants tell, so that they stay together.
 */
export function lineage(sources: TreeSources): Tree {
  const nodes = new Map<string, TreeNode>()
  for (const image of sources.images) {
    nodes.set(image.id, { kind: 'image', id: image.id, name: imageRef(image), state: 'ready', generation: 0 })
  }
  for (const template of sources.templates) nodes.set(template.id, templateNode(template))
  for (const vm of sources.vms) nodes.set(vm.id, vmNode(vm))
  const records = [...sources.templates, ...sources.vms]
  const remembered = remember(records)
  for (const record of records) {
    for (let node = nodes.get(record.id); node?.parentId !== undefined; ) {
      if (nodes.has(node.parentId)) break
      const image = nodes.has(record.imageId) ? record.imageId : undefined
      node = removedNode(node.parentId, node.generation, remembered.get(node.parentId), image)
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

/** All that the records say of what they came from. */
function remember(records: readonly (TemplateRecord | VmRecord)[]): Map<string, Remembered> {
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

function vmNode(vm: VmRecord): TreeNode {
  return {
    kind: 'vm',
    id: vm.id,
    name: vm.name,
    parentId: vm.parentId ?? (vm.source.kind === 'vm' ? vm.source.id : vm.imageId),
    relation: vm.parentId !== undefined ? 'fork' : vm.source.kind === 'vm' ? 'clone' : 'boot',
    state: vm.state,
    generation: vm.generation,
  }
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
