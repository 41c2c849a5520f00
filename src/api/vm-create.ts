import { z } from 'zod'
import { limits } from '../shared/limits.ts'
import { PortPublish } from './port.ts'
import { Environment, ImageRef, Labels, Name } from './primitives.ts'
import { IdlePolicy, networks, RestartPolicy, VmLimits } from './vm.ts'

export const TtlSeconds = z
  .number()
  .positive()
  .max(limits.ttlMaxMs / 1000)
  .describe('Remove it by itself after this time of not being paused, seconds.')

/** What cannot change later, nor at fork: it is in the device state. */
export const machineOptions = {
  cpus: z.int().min(1).max(limits.cpuMaxCount).optional().describe('Virtual processors; 1 when left out.'),
  memoryBytes: z
    .int()
    .min(limits.memoryMinBytes)
    .max(limits.memoryMaxBytes)
    .optional()
    .describe('Guest memory, bytes; the image says how much when left out.'),
  disks: z
    .array(
      z.strictObject({
        sizeBytes: z
          .int()
          .min(1024 * 1024)
          .describe('Size, bytes.'),
      }),
    )
    .max(limits.diskMaxCount)
    .optional()
    .describe('Empty disks beside the root disk of the image.'),
  nics: z
    .array(z.strictObject({ network: z.enum(networks).describe('Network it is attached to.') }))
    .max(limits.nicMaxCount)
    .optional()
    .describe('Network interfaces; one on `isolated` when left out.'),
}

/** What can be chosen at create as well as at fork. */
export const runOptions = {
  labels: Labels.default({}),
  environment: Environment.default({}),
  ttlSeconds: TtlSeconds.optional(),
  idle: IdlePolicy.optional(),
  ports: z.array(PortPublish).max(limits.portMaxCount).default([]).describe('Ports to publish once it runs.'),
  limits: VmLimits.default({}),
}

export const VmCreate = z
  .strictObject({
    name: Name.optional().describe('Name; invented when left out.'),
    image: ImageRef,
    ...machineOptions,
    ...runOptions,
    init: z.enum(['agent', 'system']).optional().describe('First process; the image says which when left out.'),
    restart: RestartPolicy.default({ mode: 'no' }),
    start: z.boolean().default(true).describe('Whether to start it; the answer then waits for its agent.'),
  })
  .meta({ id: 'VmCreate', description: 'A vm to create.', examples: [{ name: 'web', image: 'debian', cpus: 2 }] })
/** as the engine gets it, defaults filled in */
export type VmCreate = z.infer<typeof VmCreate>
/** as a caller writes it */
export type VmCreateInput = z.input<typeof VmCreate>

/** What can be changed on a vm that exists; what is left out stays. */
export const VmUpdate = z
  .strictObject({
    name: Name.optional(),
    labels: Labels.optional().describe('Labels; replaces all of them.'),
    environment: Environment.optional().describe('Environment of later execs; replaces all of it.'),
    ttlSeconds: TtlSeconds.nullable().optional().describe('New time to live from now, seconds; null for none.'),
    idle: IdlePolicy.nullable().optional().describe('When it pauses by itself, counted from now; null for never.'),
    restart: RestartPolicy.optional(),
    limits: VmLimits.optional(),
    link: z.enum(['up', 'down']).optional().describe('Links of its interfaces.'),
  })
  .meta({ id: 'VmUpdate', description: 'Changes to a vm.', examples: [{ ttlSeconds: 600 }] })
export type VmUpdate = z.infer<typeof VmUpdate>
/** as a caller writes it */
export type VmUpdateInput = z.input<typeof VmUpdate>

export const VmStop = z
  .strictObject({
    force: z.boolean().default(false).describe('End QEMU if the guest has not shut down in time.'),
    timeoutMs: z.int().min(0).max(3600_000).optional().describe('How long the guest may take, milliseconds.'),
  })
  .meta({ id: 'VmStop', description: 'How to stop a vm.' })
export type VmStop = z.infer<typeof VmStop>

export const VmPause = z
  .strictObject({
    toDisk: z.boolean().default(false).describe('Write its memory to disk and end its QEMU; it takes no memory then.'),
  })
  .meta({ id: 'VmPause', description: 'How to pause a vm.' })
export type VmPause = z.infer<typeof VmPause>

export const VmClone = z
  .strictObject({
    name: Name.optional().describe('Name of the clone; invented when left out.'),
    labels: Labels.default({}),
    start: z.boolean().default(false).describe('Whether to boot the clone.'),
  })
  .meta({ id: 'VmClone', description: 'A copy of the disks only; the clone boots.' })
export type VmClone = z.infer<typeof VmClone>
export type VmCloneInput = z.input<typeof VmClone>
