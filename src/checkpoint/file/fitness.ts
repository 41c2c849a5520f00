/**
 * Whether a checkpoint can be restored here. Device state is loaded by QEMU without asking: into a machine that is
 * made otherwise it fails late, or the guest meets a processor that lost what it was using.
 */
import { RametError } from '../../shared/errors.ts'
import type { BaseReference, Manifest } from './manifest.ts'

/** What a host offers to a checkpoint. */
export interface HostFeatures {
  readonly rametVersion: string
  readonly qemuVersion: string
  /** machine types that its QEMU has, by full name */
  readonly machineTypes: readonly string[]
  readonly accelerators: readonly Manifest['machine']['accelerator'][]
  /** that a guest of this machine would have here, by QEMU's names; left out where they are not known yet: not compared */
  readonly cpuFeatures?: readonly string[]
  /** bases that are here, with the digest of each */
  readonly bases: readonly BaseReference[]
}

/** One thing that keeps a checkpoint from being restored here. */
export interface Difference {
  readonly feature: 'ramet version' | 'qemu version' | 'machine type' | 'accelerator' | 'cpu features' | 'base'
  /** what the checkpoint needs */
  readonly needed: string
  /** what there is here */
  readonly found: string
  /** one sentence */
  readonly remedy: string
}

/** Models whose features are those of the host: the guest has seen them all, and must find neither less nor more. */
const hostModels = ['host', 'max']

/** @returns what differs, in the order in which it would be put right; empty when the checkpoint fits */
export function findDifferences(manifest: Manifest, host: HostFeatures): Difference[] {
  return [
    ...rametDifference(manifest, host),
    ...machineDifference(manifest, host),
    ...qemuDifference(manifest, host),
    ...acceleratorDifference(manifest, host),
    ...cpuDifference(manifest, host),
    ...baseDifference(manifest, host),
  ]
}

/**
 * @param name of the checkpoint, for the message
 * @throws RametError `CHECKPOINT_UNFIT` with every difference in `details.differences`
 */
export function requireFit(manifest: Manifest, host: HostFeatures, name: string): void {
  const differences = findDifferences(manifest, host)
  if (differences.length === 0) return
  const told = differences.map(({ feature, needed, found }) => `${feature}: it needs ${needed}, here is ${found}`)
  throw new RametError('CHECKPOINT_UNFIT', {
    message: `${name} cannot be restored here (${told.join('; ')})`,
    remediation: differences.map(({ remedy }) => remedy).join(' '),
    details: { checkpoint: name, differences },
  })
}

/** An older Ramet's is read as long as the format is; what a newer one wrote may rely on what is not known here. */
function rametDifference({ rametVersion }: Manifest, host: HostFeatures): Difference[] {
  if (compareVersions(rametVersion, host.rametVersion) <= 0) return []
  return [
    {
      feature: 'ramet version',
      needed: rametVersion,
      found: host.rametVersion,
      remedy: `Install Ramet ${rametVersion} or newer.`,
    },
  ]
}

function machineDifference({ machine: { machine } }: Manifest, host: HostFeatures): Difference[] {
  if (host.machineTypes.includes(machine)) return []
  return [
    {
      feature: 'machine type',
      needed: machine,
      found: host.machineTypes.join(', ') || 'none',
      remedy: `Install a QEMU that has ${machine}; see \`qemu-system-x86_64 -machine help\`.`,
    },
  ]
}

/** A QEMU loads what older ones saved of the same machine type, not what newer ones did. Patches do not matter. */
function qemuDifference({ qemuVersion }: Manifest, host: HostFeatures): Difference[] {
  const needed = minorOf(qemuVersion)
  if (compareVersions(needed, minorOf(host.qemuVersion)) <= 0) return []
  return [{ feature: 'qemu version', needed, found: host.qemuVersion, remedy: `Install QEMU ${needed} or newer.` }]
}

function acceleratorDifference({ machine: { accelerator } }: Manifest, host: HostFeatures): Difference[] {
  if (host.accelerators.includes(accelerator)) return []
  const remedy = accelerator === 'kvm' ? 'Restore it on a host with KVM.' : 'Allow emulation (TCG) on this host.'
  return [{ feature: 'accelerator', needed: accelerator, found: host.accelerators.join(', ') || 'none', remedy }]
}

function cpuDifference({ cpuFeatures, machine }: Manifest, host: HostFeatures): Difference[] {
  const found = host.cpuFeatures
  // Nothing was recorded, or nothing is known: so nothing can be compared.
  if (cpuFeatures.length === 0 || found === undefined) return []
  const missing = cpuFeatures.filter((name) => !found.includes(name))
  const [model] = machine.cpuModel?.split(',') ?? []
  const isHostModel = model === undefined || hostModels.includes(model)
  const added = isHostModel ? found.filter((name) => !cpuFeatures.includes(name)) : []
  if (missing.length === 0 && added.length === 0) return []
  const without = missing.length > 0 ? [`a processor without ${listed(missing)}`] : []
  const besides = added.length > 0 ? [`one that also has ${listed(added)}`] : []
  return [
    {
      feature: 'cpu features',
      needed: `the model ${machine.cpuModel ?? 'of its host'} with ${cpuFeatures.length} features`,
      found: [...without, ...besides].join(', '),
      remedy: 'Restore it on a host with the same processor, or make VMs that travel with a named cpu model.',
    },
  ]
}

function baseDifference({ base, counts }: Manifest, host: HostFeatures): Difference[] {
  if (base === null || counts.base === 0) return []
  const same = host.bases.find(({ id }) => id === base.id)
  if (same?.digest === base.digest) return []
  return [
    {
      feature: 'base',
      needed: `memory base ${base.id} (${base.digest.slice(0, 16)})`,
      found: same === undefined ? 'none of that id' : `another one of that id (${same.digest.slice(0, 16)})`,
      remedy: 'Bring that base to this host first, or restore the checkpoint where it was made.',
    },
  ]
}

/** Some names, so that a message stays readable; all are in the checkpoint's manifest. */
function listed(names: readonly string[]): string {
  const shown = names.slice(0, 12).join(', ')
  return names.length > 12 ? `${shown} and ${names.length - 12} more` : shown
}

/** `7.2` of `7.2.22`. */
function minorOf(version: string): string {
  return version.split('.').slice(0, 2).join('.')
}

/** Compares the numbers in front; what is behind them (`-rc1`) does not count. */
function compareVersions(one: string, other: string): number {
  const [ones, others] = [numbersOf(one), numbersOf(other)]
  for (let index = 0; index < Math.max(ones.length, others.length); index += 1) {
    const difference = (ones[index] ?? 0) - (others[index] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}

function numbersOf(version: string): number[] {
  return (/^\d+(\.\d+)*/.exec(version)?.[0] ?? '').split('.').map(Number)
}
