import { z } from 'zod'
import { Bytes, Time } from './primitives.ts'

/** Named extensions of this API; a client asks for one by looking for its name. */
export const capabilities = [
  'fork',
  'clone',
  'templates',
  'exec-socket',
  'files',
  'ports',
  'events',
  'tree',
  'idle',
] as const

export const Version = z
  .object({
    version: z.string().describe('Version of Ramet.'),
    api: z.literal('v1').describe('Version of this API.'),
    capabilities: z.array(z.string()).describe('Named extensions of this API.'),
  })
  .meta({ id: 'Version', description: 'Who answers.' })
export type Version = z.infer<typeof Version>

export const HostInfo = z
  .object({
    id: z.string().describe('Id of this installation.'),
    name: z.string().describe('Name of the host.'),
    version: z.string().describe('Version of Ramet.'),
    capabilities: z.array(z.string()).describe('Named extensions of this API.'),
    qemuVersion: z.string().optional().describe('Version of QEMU.'),
    accelerator: z.enum(['kvm', 'tcg']).describe('How guests execute.'),
    cpus: z.int().positive().describe('Processors.'),
    memoryTotalBytes: Bytes.describe('Memory, bytes.'),
    memoryAvailableBytes: Bytes.describe('Memory that new vms could have, bytes.'),
    diskTotalBytes: Bytes.describe('Size of the file system of the data directory, bytes.'),
    diskAvailableBytes: Bytes.describe('Free there, bytes.'),
    vmCount: z.int().nonnegative().describe('Vms that exist.'),
    runningCount: z.int().nonnegative().describe('Vms that run.'),
    startedAt: Time.describe('When this daemon started.'),
  })
  .meta({ id: 'HostInfo', description: 'The host and what it has left.' })
export type HostInfo = z.infer<typeof HostInfo>

export const DoctorCheck = z
  .object({
    id: z.string().describe('Stable name of the check, such as `kvm` or `reflink`.'),
    title: z.string().describe('What was looked at.'),
    verdict: z.enum(['ok', 'slow', 'missing', 'failed']).describe('slow: works, a better way is not to be had here.'),
    detail: z.string().describe('What was found.'),
    effect: z.string().optional().describe('What it means for the user.'),
    remedy: z.string().optional().describe('What to do about it: a command where there is one.'),
  })
  .meta({ id: 'DoctorCheck', description: 'One thing that was looked at.' })
export type DoctorCheck = z.infer<typeof DoctorCheck>

export const DoctorReport = z
  .object({
    usable: z.boolean().describe('Whether Ramet works here at all.'),
    checks: z.array(DoctorCheck).describe('What was looked at.'),
  })
  .meta({ id: 'DoctorReport', description: 'What is slow or missing on this host, and the remedy.' })
export type DoctorReport = z.infer<typeof DoctorReport>

/** Answer of `/healthz` and `/readyz`. */
export const Health = z
  .object({ status: z.enum(['ok', 'starting', 'stopping']).describe('State of the daemon.') })
  .meta({ id: 'Health', description: 'State of the daemon.' })
export type Health = z.infer<typeof Health>
