import { z } from 'zod'
import { limits } from '../shared/limits.ts'
import { Bytes, Environment, GuestText, ImageRef, Labels, Name, pageOf, Ref, Time } from './primitives.ts'
import { Problem } from './problem.ts'
import { Timings } from './timings.ts'
import { Disk, networks, Vm } from './vm.ts'
import { machineOptions } from './vm-create.ts'

/**
 * creating: being made · stored: on disk, memory loaded at first use · ready: memory resident,
 * forks at once · failed: could not be made or no longer be read · removing
 */
export const templateStates = ['creating', 'ready', 'stored', 'failed', 'removing'] as const
export type TemplateState = (typeof templateStates)[number]

const armed = z
  .int()
  .min(0)
  .max(limits.armedMaxCount)
  .describe('QEMU processes to keep started ahead for the next forks.')

export const Template = z
  .object({
    id: z.string().describe('Id.'),
    name: Name,
    state: z.enum(templateStates).describe('Whether it can be forked, and how soon.'),
    source: z
      .object({
        kind: z.enum(['vm', 'image']).describe('What it was made from.'),
        id: z.string().describe('Id of the vm (consumed by now) or image.'),
        name: z.string().describe('Its name at that time.'),
      })
      .describe('What it was made from.'),
    image: z.string().describe('Image at the root of its lineage, as name:tag.'),
    parentId: z.string().optional().describe('Id of the template that its source vm was forked from.'),
    generation: z.int().nonnegative().describe('Generation of the vm it was made from.'),
    depth: z.int().nonnegative().describe('Forks between it and the vm that was booted.'),
    cpus: z.int().positive().describe('Virtual processors of each child.'),
    memoryBytes: Bytes.describe('Guest memory of each child, bytes.'),
    disks: z.array(Disk).describe('Disks of each child.'),
    nics: z.array(z.object({ network: z.enum(networks).describe('Network.') })).describe('Interfaces of each child.'),
    init: z.enum(['agent', 'system']).describe('First process in the guest.'),
    resident: z.boolean().describe('Whether its memory is loaded.'),
    baseBytes: Bytes.describe('Memory that the sealed base occupies while resident, bytes.'),
    storedBytes: Bytes.describe('Room it takes on disk, bytes.'),
    armed: armed.describe('QEMU processes kept started ahead, as asked.'),
    armedCount: z.int().nonnegative().describe('QEMU processes started ahead right now.'),
    childCount: z.int().nonnegative().describe('Vms that map its base.'),
    labels: Labels,
    agentProtocol: z.int().optional().describe('Protocol version of the guest agent in it.'),
    qemuVersion: z.string().optional().describe('QEMU that saved its device state.'),
    machine: z.string().optional().describe('Versioned machine name of QEMU, which children need too.'),
    failure: Problem.optional().describe('Why it is `failed`.'),
    timings: Timings.optional().describe('Stages of making it, milliseconds.'),
    createdAt: Time.describe('When it was made.'),
  })
  .meta({ id: 'Template', description: 'A quiesced, sealed parent to fork from.' })
export type Template = z.infer<typeof Template>

export const TemplatePage = pageOf(Template, 'TemplatePage')

export const Readiness = z
  .strictObject({
    command: z.array(GuestText).min(1).max(256).describe('Command that exits with 0 once the vm is ready.'),
    intervalMs: z.int().min(10).max(600_000).default(250).describe('Pause between two tries, milliseconds.'),
    timeoutMs: z.int().min(1).max(3600_000).default(60_000).describe('When to give up, milliseconds.'),
  })
  .meta({ id: 'Readiness', description: 'How to find out that a vm has reached the state wanted.' })
export type Readiness = z.infer<typeof Readiness>

const common = {
  name: Name,
  labels: Labels.default({}),
  armed: armed.default(1),
}

export const TemplateCreate = z
  .discriminatedUnion('from', [
    z.strictObject({
      from: z.literal('vm').describe('Make it from a running vm, which it consumes.'),
      ...common,
      vm: Ref.describe('Id or name of the vm.'),
      keep: z.boolean().default(false).describe('Start the vm again, as the first child of the template.'),
    }),
    z.strictObject({
      from: z.literal('image').describe('Boot an image, let it reach a state, and make it from that.'),
      ...common,
      image: ImageRef,
      ...machineOptions,
      init: z.enum(['agent', 'system']).optional().describe('First process; the image says which when left out.'),
      environment: Environment.default({}),
      startCommand: z
        .array(GuestText)
        .min(1)
        .max(256)
        .optional()
        .describe('Program to start in the guest; it stays running in every child.'),
      readiness: Readiness.optional(),
    }),
  ])
  .meta({
    id: 'TemplateCreate',
    description: 'A template to make, from a running vm or in one go from an image.',
    examples: [{ from: 'vm', name: 'warm-web', vm: 'web' }],
  })
/** as the engine gets it, defaults filled in */
export type TemplateCreate = z.infer<typeof TemplateCreate>
/** as a caller writes it */
export type TemplateCreateInput = z.input<typeof TemplateCreate>

/** What making a template answers. */
export const TemplateCreated = z
  .object({
    template: Template,
    kept: Vm.optional().describe('The source vm, started again as the first child, if that was asked for.'),
  })
  .meta({ id: 'TemplateCreated', description: 'A template made.' })
export type TemplateCreated = z.infer<typeof TemplateCreated>

export const TemplateUpdate = z
  .strictObject({
    name: Name.optional(),
    labels: Labels.optional().describe('Labels; replaces all of them.'),
    armed: armed.optional(),
  })
  .meta({ id: 'TemplateUpdate', description: 'Changes to a template.', examples: [{ armed: 4 }] })
export type TemplateUpdate = z.infer<typeof TemplateUpdate>
