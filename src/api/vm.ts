import { z } from 'zod'
import { limits } from '../shared/limits.ts'
import { Port } from './port.ts'
import { Bytes, Environment, Labels, Name, pageOf, Time } from './primitives.ts'
import { RestoreReport } from './restore.ts'
import { Timings } from './timings.ts'

/**
 * created: registered, never started · starting: booting, or being forked, until its agent has proved
 * its identity · running · pausing · paused · resuming · capturing: its state is being saved, for a
 * template, a fork or a snapshot · suspended: paused to disk, no process · restoring: its memory and devices come
 * back from disk · stopping · stopped · failed: ended against its will, see `failure` · removing
 */
export const vmStates = [
  'created',
  'starting',
  'running',
  'pausing',
  'paused',
  'resuming',
  'capturing',
  'suspended',
  'restoring',
  'stopping',
  'stopped',
  'failed',
  'removing',
] as const
export type VmState = (typeof vmStates)[number]

export const networks = ['isolated', 'user', 'none'] as const
export type Network = (typeof networks)[number]

export const Nic = z
  .object({
    name: z.string().describe('Interface name in the guest.'),
    network: z
      .enum(networks)
      .describe('isolated: no route out · user: outbound NAT, host unreachable · none: link stays down.'),
    mac: z.string().describe('Hardware address.'),
    ip: z.string().optional().describe('Address with prefix length. Behind NAT it may repeat between vms.'),
  })
  .meta({ id: 'Nic', description: 'A network interface of a vm.' })
export type Nic = z.infer<typeof Nic>

export const Disk = z
  .object({
    name: z.string().describe('Device name in the guest.'),
    sizeBytes: Bytes.describe('Size that the guest sees, bytes.'),
    readOnly: z.boolean().describe('Whether the guest can only read it.'),
    base: z.string().optional().describe('Id of the immutable base under the delta; absent for an empty disk.'),
  })
  .meta({ id: 'Disk', description: 'A disk of a vm: a private delta over an immutable base.' })
export type Disk = z.infer<typeof Disk>

/** What cgroups hold a vm to; the guest's own idea of its size does not change. */
export const VmLimits = z
  .strictObject({
    cpuCores: z.number().positive().max(1024).optional().describe('Processor time, cores (0.5 is half of one).'),
    memoryBytes: z
      .int()
      .positive()
      .optional()
      .describe('Host memory that the vm may use beyond its shared base, QEMU included, bytes.'),
  })
  .meta({ id: 'VmLimits', description: 'Limits kept by cgroups on the host.' })
export type VmLimits = z.infer<typeof VmLimits>

export const RestartPolicy = z
  .strictObject({
    mode: z.enum(['no', 'on-failure', 'always']).describe('When Ramet starts the vm again by itself.'),
    maxRetries: z.int().min(0).max(1000).optional().describe('Restarts in a row at most; unlimited when left out.'),
  })
  .meta({ id: 'RestartPolicy', description: 'Whether a vm that ended is started again.' })
export type RestartPolicy = z.infer<typeof RestartPolicy>

const IdleSeconds = z
  .number()
  .min(limits.idleMinMs / 1000)
  .max(limits.ttlMaxMs / 1000)

/** When a vm pauses by itself, and whether it comes back by itself. */
export const IdlePolicy = z
  .strictObject({
    pauseAfterSeconds: IdleSeconds.optional().describe(
      'Pause it by itself after this time in which nobody called it and it did not compute, seconds.',
    ),
    toDiskAfterSeconds: IdleSeconds.optional().describe(
      'The same, to disk: it takes no memory then. Counted from the same moment; with both it is paused first.',
    ),
    resumeOnCall: z
      .boolean()
      .default(true)
      .describe('Whether the next call that needs its guest resumes it first; if not, it waits to be resumed.'),
  })
  .refine((idle) => idle.pauseAfterSeconds !== undefined || idle.toDiskAfterSeconds !== undefined, {
    message: 'neither `pauseAfterSeconds` nor `toDiskAfterSeconds` is given',
  })
  .meta({ id: 'IdlePolicy', description: 'When a vm pauses by itself.' })
export type IdlePolicy = z.infer<typeof IdlePolicy>

export const VmFailure = z
  .object({
    reason: z
      .enum([
        'guest-panic',
        'out-of-memory',
        'vmm-exit',
        'boot-timeout',
        'link-lost',
        'identity-unproved',
        'host-restart',
        'other',
      ])
      .describe('What ended it.'),
    message: z.string().describe('The same as a sentence.'),
    event: z.string().optional().describe('QEMU event or exit status that told.'),
    consoleLines: z.array(z.string()).describe('Last lines of its console.'),
    at: Time.describe('When.'),
  })
  .meta({ id: 'VmFailure', description: 'Why a vm is `failed`.' })
export type VmFailure = z.infer<typeof VmFailure>

export const Vm = z
  .object({
    id: z.string().describe('Id.'),
    name: Name,
    state: z.enum(vmStates).describe('Where it is in its life.'),
    stateReason: z.string().optional().describe('Why it is in that state, when that is not plain.'),
    source: z
      .object({
        kind: z
          .enum(['image', 'template', 'vm', 'snapshot'])
          .describe('image: booted · template: forked · vm: forked, or its disks cloned · snapshot: restored.'),
        id: z.string().describe('Id of the source, which may be gone by now.'),
        name: z.string().describe('Name of the source at that time.'),
      })
      .describe('What it was made from.'),
    image: z.string().describe('Image at the root of its lineage, as name:tag.'),
    parentId: z.string().optional().describe('Id of the template or vm it was forked from.'),
    templateId: z.string().optional().describe('Id of the template whose base it maps.'),
    generation: z.int().nonnegative().describe('Identity number: rises with each fork or restore in its lineage.'),
    depth: z.int().nonnegative().describe('Forks between it and the vm that was booted.'),
    forkIndex: z.int().nonnegative().optional().describe('Place among the children of its fork call, from 0.'),
    identity: z
      .enum(['own', 'none'])
      .describe(
        'own: name, addresses and randomness of its own, proved · none: forked without its agent, it believes to be its parent, and its links stay down until it boots again.',
      ),
    frozenAtFork: z
      .boolean()
      .optional()
      .describe(
        'Whether its workload stood still from the capture until its identity was proved; absent unless it was forked.',
      ),
    hostname: z.string().optional().describe('Host name in the guest.'),
    init: z.enum(['agent', 'system']).describe('First process: the Ramet agent, or the init system of the image.'),
    cpus: z.int().positive().describe('Virtual processors.'),
    memoryBytes: Bytes.describe('Guest memory, bytes.'),
    disks: z.array(Disk).describe('Disks; the first is the root, if the image has one.'),
    nics: z.array(Nic).describe('Network interfaces.'),
    link: z.enum(['up', 'down']).describe('Whether its interfaces have their links up.'),
    labels: Labels,
    environment: Environment,
    ports: z.array(Port).describe('Published ports.'),
    limits: VmLimits,
    restart: RestartPolicy,
    restartCount: z.int().nonnegative().describe('Restarts by policy since it was last started by hand.'),
    ttlSeconds: z.number().optional().describe('Time to live, seconds. It does not run while paused.'),
    expiresAt: Time.optional().describe('When it is removed by itself.'),
    idle: IdlePolicy.optional(),
    idlePaused: z.boolean().optional().describe('Whether it paused by itself, by `idle`; absent if not.'),
    pid: z.int().optional().describe('Process id of QEMU on the host, while there is one.'),
    restore: RestoreReport.optional().describe('How its memory came, or comes, when it was last restored lazily.'),
    suspendedBytes: Bytes.optional().describe('What it takes on disk while suspended, its disks left out, bytes.'),
    failure: VmFailure.optional(),
    timings: Timings.optional().describe('Stages of its last start or fork, milliseconds.'),
    createdAt: Time.describe('When it was created.'),
    startedAt: Time.optional().describe('When its guest last began to run.'),
    stoppedAt: Time.optional().describe('When its guest last ended.'),
  })
  .meta({ id: 'Vm', description: 'A virtual machine.' })
export type Vm = z.infer<typeof Vm>

export const VmPage = pageOf(Vm, 'VmPage')
