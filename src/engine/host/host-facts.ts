import { readFileSync } from 'node:fs'
import { isIPv4 } from 'node:net'
import { join } from 'node:path'
import { chooseAccelerator, kvmGroup } from '../../host/kvm.ts'
import { bootId } from '../../host/process-identity.ts'
import { findQemu, qemuFinding } from '../../host/qemu-binary.ts'
import { chooseMachineType } from '../../qemu/version.ts'
import { RametError } from '../../shared/errors.ts'
import type { HostFacts } from '../context.ts'

/** @throws RametError `HOST_UNFIT` when QEMU is missing or too old */
export async function readHostFacts(dataDir: string): Promise<HostFacts> {
  const qemu = await findQemu()
  const { level, finding, remedy } = qemuFinding(qemu)
  if (qemu === undefined || level === 'missing')
    throw new RametError('HOST_UNFIT', { message: finding, remediation: remedy })
  const userPerVm = process.geteuid?.() === 0
  const verdict = await chooseAccelerator({
    cacheFile: join(dataDir, 'accelerator.json'),
    qemu: qemu.command,
    separateUsers: userPerVm,
  })
  const group = verdict.accelerator === 'kvm' ? kvmGroup() : undefined
  return {
    accelerator: verdict.accelerator,
    acceleratorFinding: verdict.finding,
    machineType: chooseMachineType(qemu.machines),
    qemuVersion: qemu.version,
    machineTypes: qemu.machines,
    userPerVm,
    ...(group === undefined ? {} : { kvmGroup: group }),
    nameServers: nameServersOf(readText('/etc/resolv.conf')),
    bootId: bootId(),
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

/** IPv4 name servers out of resolv.conf; those on loopback are the host's own and cannot be reached by guests. */
export function nameServersOf(text: string): string[] {
  const addresses = [...text.matchAll(/^\s*nameserver\s+(\S+)/gm)].map((match) => match[1] ?? '')
  return addresses.filter((address) => isIPv4(address) && !address.startsWith('127.')).slice(0, 3)
}
