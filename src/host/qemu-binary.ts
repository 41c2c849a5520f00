/** Which QEMU this host has. */
import { type Finding, fine, missing } from './finding.ts'
import { runCommand } from './run-command.ts'

export interface QemuBinary {
  command: string
  /** `major.minor.micro` */
  version: string
  major: number
  minor: number
  /** versioned names of the q35 machine, newest first, such as `pc-q35-7.2` */
  machines: string[]
}

/** Undefined when it is not installed or does not run. */
export async function findQemu(command = 'qemu-system-x86_64'): Promise<QemuBinary | undefined> {
  const [version, machines] = await Promise.all([
    runCommand(command, ['--version']),
    runCommand(command, ['-machine', 'help']),
  ])
  if (version.exitCode !== 0 || machines.exitCode !== 0) return undefined
  return parseQemu(command, version.stdout, machines.stdout)
}

export function parseQemu(command: string, versionText: string, machineText: string): QemuBinary | undefined {
  const match = /version ((\d+)\.(\d+)\.\d+)/.exec(versionText)
  if (match === null) return undefined
  const [, version = '', major, minor] = match
  const machines = [...machineText.matchAll(/^(pc-q35-(\d+)\.(\d+)(?:\.\d+)?)\s/gm)]
    .sort((a, b) => Number(b[2]) - Number(a[2]) || Number(b[3]) - Number(a[3]))
    .map(([, name = '']) => name)
  return { command, version, major: Number(major), minor: Number(minor), machines }
}

export function qemuFinding(qemu: QemuBinary | undefined): Finding {
  const remedy = 'Install it: apt-get install qemu-system-x86 qemu-utils'
  if (qemu === undefined) return missing('qemu', 'qemu-system-x86_64 is not installed, or does not run', remedy)
  if (qemu.major < 7 || (qemu.major === 7 && qemu.minor < 2)) {
    return missing('qemu', `QEMU ${qemu.version} is older than 7.2`, 'Upgrade QEMU to 7.2 or newer.')
  }
  if (qemu.machines.length === 0) return missing('qemu', `QEMU ${qemu.version} has no q35 machine`, remedy)
  return fine('qemu', `QEMU ${qemu.version}, newest machine ${qemu.machines[0]}`)
}
