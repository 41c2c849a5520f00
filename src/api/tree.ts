import { z } from 'zod'
import { Bytes } from './primitives.ts'

const use = (what: string) =>
  z
    .object({
      privateBytes: Bytes.describe(`${what} of its own, bytes.`),
      sharedBytes: Bytes.describe(`${what} that it reads from bases shared with others, bytes.`),
    })
    .optional()

/** One node of the lineage. Nodes come parents first, so that a tree is built in one pass. */
export const TreeNode = z
  .object({
    kind: z.enum(['image', 'template', 'vm', 'snapshot']).describe('What it is.'),
    id: z.string().describe('Id.'),
    name: z.string().describe('Name.'),
    parentId: z.string().optional().describe('Id of the node above; absent at a root.'),
    relation: z
      .enum(['boot', 'template', 'fork', 'clone', 'snapshot', 'restore'])
      .optional()
      .describe('How it came from the node above.'),
    state: z.string().describe('State of the vm, template or image; `removed` if only its descendants are left.'),
    generation: z.int().nonnegative().describe('Generation.'),
    memory: use('Guest memory').describe('Memory, of a vm that runs.'),
    disk: use('Room on disk').describe('Disks, of a vm that has any.'),
    chainDepth: z
      .int()
      .positive()
      .optional()
      .describe('Files of its deepest disk, its own delta included, of a vm that has any and was started once.'),
  })
  .meta({ id: 'TreeNode', description: 'A node of the lineage.' })
export type TreeNode = z.infer<typeof TreeNode>

export const Tree = z
  .object({ nodes: z.array(TreeNode).describe('Nodes, parents first.') })
  .meta({ id: 'Tree', description: 'What came from what.' })
export type Tree = z.infer<typeof Tree>
