import { z } from 'zod'
import { Bytes } from './primitives.ts'

export const Layer = z
  .object({
    role: z
      .enum(['delta', 'frozen', 'base'])
      .describe(
        'delta: private, written to · frozen: a delta that stands still, because it is forked from · base: immutable.',
      ),
    owner: z
      .object({
        kind: z
          .enum(['vm', 'image', 'template', 'catalogue'])
          .describe('catalogue: owned by none of its users, and removed with the last of them.'),
        id: z.string().describe('Id of the owner; in the catalogue, of the layer itself.'),
        name: z.string().optional().describe('Its name.'),
      })
      .describe('With whom it is removed.'),
    path: z.string().optional().describe('File on the host; absent for what is in memory only.'),
    allocatedBytes: Bytes.describe('What it takes on the host, bytes; parts shared by reflink count in each file.'),
    users: z.array(z.string()).optional().describe('Names of the other vms and templates that stand on it.'),
  })
  .meta({ id: 'Layer', description: 'One layer of a memory or of a disk.' })
export type Layer = z.infer<typeof Layer>

const DiskLayers = z.object({
  name: z.string().describe('Device name in the guest.'),
  layers: z.array(Layer).describe('From its own delta down to the lowest base.'),
  problem: z.string().optional().describe('Why the layers below cannot be told.'),
})

export const VmLayers = z
  .object({
    memory: z.array(Layer).describe('From its own pages down; empty unless it runs.'),
    disks: z.array(DiskLayers).describe('One for each disk.'),
  })
  .meta({ id: 'VmLayers', description: 'What the memory and the disks of a vm stand on.' })
export type VmLayers = z.infer<typeof VmLayers>
