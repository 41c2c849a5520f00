/** All that `ramet doctor` wants to know about this host. */
import type { CgroupDriver } from './cgroups.ts'
import { type Finding, fine, missing, slow } from './finding.ts'
import { acceleratorFinding, type chooseAccelerator } from './kvm.ts'
import { userNetworkFinding } from './network-group.ts'
import {
  hugePageFinding,
  memfdFinding,
  memoryFinding,
  processMemoryFinding,
  readSetting,
  userfaultfdFinding,
  userfaultfdWorks,
} from './probe-memory.ts'
import { diskSpaceFinding, programsFinding, reflinkFinding } from './probe-storage.ts'
import { findQemu, qemuFinding } from './qemu-binary.ts'
import type { ProcessUser } from './spawn-detached.ts'
import { overlaps, parseSubordinateIds, type UidRange } from './uids.ts'
import type { UserfaultfdOffer } from './userfaultfd.ts'

export interface ProbeHostOptions {
  /** where Ramet keeps its data; exists */
  dataDirectory: string
  accelerator: () => ReturnType<typeof chooseAccelerator>
  cgroups: CgroupDriver
  /** whom VMs run as; absent when the daemon is not root */
  user?: ProcessUser
  /** what this daemon can lend to its VMs */
  userfaultfd: () => Promise<UserfaultfdOffer>
  uidRange: UidRange
}

/** Never throws: what cannot be looked at is a finding too. Takes up to 3 s at the first time after a boot. */
export async function probeHost(options: ProbeHostOptions): Promise<Finding[]> {
  const privileged = process.geteuid?.() === 0
  const probes: [string, () => Finding | Promise<Finding>][] = [
    ['node', () => fine('node', `Node ${process.versions.node}`)],
    ['qemu', async () => qemuFinding(await findQemu())],
    ['kvm', async () => acceleratorFinding(await options.accelerator())],
    ['memory', () => memoryFinding()],
    ['memfd', memfdFinding],
    ['proc-mem', () => processMemoryFinding(options.user)],
    ['userfaultfd', async () => userfaultfdFinding(userfaultfdFacts(await options.userfaultfd(), privileged))],
    ['huge-pages', () => hugePageFinding()],
    ['cgroups', () => cgroupFinding(options.cgroups)],
    ['user-network', userNetworkFinding],
    ['uids', () => uidFinding(options.uidRange, privileged)],
    ['disk', () => diskSpaceFinding(options.dataDirectory)],
    ['reflink', () => reflinkFinding(options.dataDirectory)],
    ['programs', () => programsFinding()],
  ]
  const findings: Finding[] = []
  // One after another: two probes at once would disturb each other's timing on a small host.
  for (const [name, probe] of probes) findings.push(await guarded(name, probe))
  return findings
}

async function guarded(name: string, probe: () => Finding | Promise<Finding>): Promise<Finding> {
  try {
    return await probe()
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    return missing(name, `it could not be found out: ${why}`, 'Run `ramet doctor` as the user that the daemon runs as.')
  }
}

function userfaultfdFacts(offer: UserfaultfdOffer, privileged: boolean) {
  return {
    works: userfaultfdWorks(),
    privileged,
    sysctl: readSetting('/proc/sys/vm/unprivileged_userfaultfd'),
    obstacle: 'why' in offer ? offer.why : undefined,
  }
}

function cgroupFinding(cgroups: CgroupDriver): Finding {
  if (cgroups.controllers.length >= 2) return fine('cgroups', cgroups.finding)
  const remedy = 'Run the daemon as root, or in a systemd unit with Delegate=cpu memory.'
  return slow('cgroups', cgroups.finding, remedy)
}

function uidFinding(range: UidRange, privileged: boolean): Finding {
  if (!privileged) {
    const remedy = 'Run the daemon as root for a user per VM.'
    return slow('uids', 'all VMs run as the user of the daemon, who is not root', remedy)
  }
  const given = ['/etc/subuid', '/etc/subgid'].flatMap((file) => parseSubordinateIds(readSetting(file) ?? ''))
  const last = range.first + range.count - 1
  if (given.every((other) => !overlaps(other, range))) {
    return fine('uids', `each VM runs as a user of its own, ${range.first} to ${last}`)
  }
  const remedy = 'Choose another range in ramet.toml, or another in /etc/subuid and /etc/subgid.'
  return slow('uids', `the users of VMs, ${range.first} to ${last}, overlap those given out in /etc/subuid`, remedy)
}
