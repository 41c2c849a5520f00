import type { Tree, TreeNode } from '../api/tree.ts'
import type { ImageRecord, TemplateRecord, VmRecord } from './records.ts'
import { imageRef } from './vm-view.ts'

export interface TreeSources {
  images: readonly ImageRecord[]
  templates: readonly TemplateRecord[]
  vms: readonly VmRecord[]
}

/**
 * What came from what, parents first. A vm hangs on what it was forked from, or on its image; a parent that
 * is gone is shown as `removed`, so that its descendants stay together.
 */
export function lineage(sources: TreeSources): Tree {
  const nodes = new Map<string, TreeNode>()
  for (const image of sources.images) {
    nodes.set(image.id, { kind: 'image', id: image.id, name: imageRef(image), state: 'ready', generation: 0 })
  }
  for (const template of sources.templates) nodes.set(template.id, templateNode(template))
  for (const vm of sources.vms) nodes.set(vm.id, vmNode(vm))
  for (const node of [...nodes.values()]) {
    if (node.parentId === undefined || nodes.has(node.parentId)) continue
    const source = sources.vms.find((vm) => vm.id === node.id)?.source
    nodes.set(node.parentId, {
      kind: source?.kind ?? 'template',
      id: node.parentId,
      name: source?.name ?? node.parentId,
      state: 'removed',
      generation: Math.max(0, node.generation - 1),
    })
  }
  return { nodes: parentsFirst([...nodes.values()]) }
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
