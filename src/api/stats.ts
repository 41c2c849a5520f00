import { z } from 'zod'
import { Bytes, Time } from './primitives.ts'

export const VmStats = z
  .object({
    vmId: z.string().describe('Id of the vm.'),
    name: z.string().describe('Its name.'),
    at: Time.describe('When this was measured.'),
    cpuSeconds: z.number().nonnegative().describe('Processor time of QEMU since it started, seconds.'),
    cpuFraction: z
      .number()
      .nonnegative()
      .describe('Processor time over wall time since the measurement before, cores.'),
    memory: z
      .object({
        privateBytes: Bytes.describe('Guest memory that is this vm’s own, bytes.'),
        sharedBytes: Bytes.describe('Guest memory it reads from a base shared with others, bytes.'),
        swappedBytes: Bytes.describe('Private guest memory in swap, bytes.'),
        vmmBytes: Bytes.describe('Private memory of QEMU beside the guest’s, bytes.'),
        limitBytes: Bytes.optional().describe('Limit kept by the cgroup, bytes.'),
      })
      .describe('Memory as the host sees it.'),
    disk: z
      .object({
        privateBytes: Bytes.describe('Room that its deltas take, bytes.'),
        sharedBytes: Bytes.describe('Room that the bases under them take, bytes.'),
        chainDepth: z.int().nonnegative().describe('Files under the root disk, the delta included.'),
      })
      .describe('Disks as the host sees them.'),
    guest: z
      .object({
        memoryTotalBytes: Bytes.describe('Memory that the guest knows of, bytes.'),
        memoryAvailableBytes: Bytes.describe('Memory that the guest could give to programs, bytes.'),
        cachedBytes: Bytes.describe('Page cache, bytes.'),
        processCount: z.int().nonnegative().describe('Processes.'),
        diskTotalBytes: Bytes.describe('Size of the root file system, bytes.'),
        diskUsedBytes: Bytes.describe('Used of the root file system, bytes.'),
        uptimeSeconds: z.number().nonnegative().describe('Time since the guest booted, seconds.'),
      })
      .optional()
      .describe('What the guest says of itself; absent if its agent does not answer.'),
  })
  .meta({ id: 'VmStats', description: 'What a vm uses.' })
export type VmStats = z.infer<typeof VmStats>
