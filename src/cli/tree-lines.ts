import type { TreeNode } from '../client/index.ts'
import { formatBytes } from '../shared/limits.ts'

interface Branch {
  node: TreeNode
  children: Branch[]
}

/** Draws the lineage, one line a node; children in the order in which they come. */
export function treeLines(nodes: readonly TreeNode[]): string[] {
  const branches = new Map<string, Branch>()
  const roots: Branch[] = []
  for (const node of nodes) {
    const branch = { node, children: [] }
    branches.set(node.id, branch)
    const parent = node.parentId === undefined ? undefined : branches.get(node.parentId)
    if (parent === undefined) roots.push(branch)
    else parent.children.push(branch)
  }
  const lines: string[] = []
  // A stack instead of recursion: a lineage may be as deep as somebody has patience to fork.
  const waiting = roots.toReversed().map((branch) => ({ branch, lead: '', below: '' }))
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const { branch, lead, below } = next
    lines.push(lead + label(branch.node))
    const last = branch.children.at(-1)
    for (const child of branch.children.toReversed())
      waiting.push({
        branch: child,
        lead: `${below}${child === last ? '└─ ' : '├─ '}`,
        below: `${below}${child === last ? '   ' : '│  '}`,
      })
  }
  return lines
}

function label(node: TreeNode): string {
  const kind = node.kind === 'vm' ? '' : `${node.kind} `
  const generation = node.kind === 'image' ? '' : `, generation ${node.generation}`
  const depth = node.chainDepth === undefined ? '' : `, depth ${node.chainDepth}`
  const how = node.relation === 'clone' ? ', disks only' : ''
  return `${kind}${node.name}  (${node.state}${generation}${depth}${how}${uses('memory', node.memory)}${uses('disk', node.disk)})`
}

function uses(what: string, use: TreeNode['memory']): string {
  if (use === undefined) return ''
  return `; ${what} ${formatBytes(use.privateBytes)} own, ${formatBytes(use.sharedBytes)} shared`
}
