import { RametError } from '../shared/errors.ts'

/**
 * The newest machine type that Ramet describes. Device state of a template loads only into a machine of
 * the same versioned type, so the name is stored with it and never an alias such as `q35`.
 */
export const newestPinnedMachine = 'pc-q35-7.2'

/**
 * The machine type for a new vm: the newest that QEMU has and Ramet pins.
 *
 * @throws RametError `HOST_UNFIT` when QEMU has none of them
 */
export function chooseMachineType(available: readonly string[]): string {
  const usable = available.filter((name) => machineOrder(name) <= machineOrder(newestPinnedMachine))
  const newest = usable.sort((a, b) => machineOrder(a) - machineOrder(b)).at(-1)
  if (newest === undefined)
    throw new RametError('HOST_UNFIT', {
      message: `QEMU has no machine type up to ${newestPinnedMachine}`,
      remediation: 'Install a QEMU that still has it; see `qemu-system-x86_64 -machine help`.',
    })
  return newest
}

function machineOrder(name: string): number {
  const [, major, minor] = /(\d+)\.(\d+)$/.exec(name) ?? []
  return Number(major ?? 0) * 1000 + Number(minor ?? 0)
}
