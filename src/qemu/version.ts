import { RametError } from '../shared/errors.ts'

/** Version of QEMU, as `qemu-system-x86_64 --version` says it. */
export interface QemuVersion {
  readonly major: number
  readonly minor: number
  readonly micro: number
  /** the whole first line, for people */
  readonly text: string
}

/** The oldest QEMU that Ramet works with. */
export const qemuMinimum = { major: 7, minor: 2 }

/**
 * The newest machine type that Ramet describes. Device state of a template loads only into a machine of
 * the same versioned type, so the name is stored with it and never an alias such as `q35`.
 */
export const newestPinnedMachine = 'pc-q35-7.2'

/** @throws RametError `HOST_UNFIT` when the text is not QEMU's or the version is too old */
export function parseQemuVersion(output: string): QemuVersion {
  const match = /QEMU emulator version (\d+)\.(\d+)(?:\.(\d+))?/.exec(output)
  if (match === null)
    throw new RametError('HOST_UNFIT', { message: `this is not QEMU's version: ${output.slice(0, 120)}` })
  const [major, minor, micro] = match.slice(1).map((part) => Number(part ?? 0))
  const version = { major: major ?? 0, minor: minor ?? 0, micro: micro ?? 0, text: output.split('\n', 1)[0] ?? '' }
  if (version.major < qemuMinimum.major || (version.major === qemuMinimum.major && version.minor < qemuMinimum.minor))
    throw new RametError('HOST_UNFIT', {
      message: `QEMU ${version.major}.${version.minor} is too old`,
      remediation: `Install QEMU ${qemuMinimum.major}.${qemuMinimum.minor} or newer.`,
    })
  return version
}

/** Versioned q35 machine types out of `-machine help`, oldest first. */
export function parseMachineTypes(output: string): string[] {
  const names = output.split('\n').map((line) => /^(pc-q35-\d+\.\d+)\s/.exec(line)?.[1])
  return names.filter((name) => name !== undefined).sort((a, b) => machineOrder(a) - machineOrder(b))
}

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
