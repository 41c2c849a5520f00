/**
 * Whether KVM works, found out by running a guest. Opening /dev/kvm proves nothing: there are machines
 * where that succeeds and a guest then crawls, or spins for ever, for want of hardware below.
 */
import { accessSync, constants, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { rename, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { RametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { type Finding, fine, slow } from './finding.ts'
import { exitPort, firmwareExitCode, probeFirmware } from './probe-firmware.ts'
import { bootId } from './process-identity.ts'
import { runCommand } from './run-command.ts'

export type Accelerator = 'kvm' | 'tcg'

export interface AcceleratorVerdict {
  accelerator: Accelerator
  /** why, one sentence */
  finding: string
}

/** Runs the probe guest. Resolves to the reason why it did not work, or undefined when it did. */
export async function runProbeGuest(accelerator: Accelerator, qemu: string): Promise<string | undefined> {
  const directory = mkdtempSync(join(tmpdir(), 'ramet-probe-'))
  try {
    const firmware = join(directory, 'firmware')
    writeFileSync(firmware, probeFirmware())
    const machine = ['-machine', `q35,accel=${accelerator}`, '-m', '4', '-nodefaults', '-display', 'none', '-no-reboot']
    const device = ['-bios', firmware, '-device', `isa-debug-exit,iobase=${exitPort},iosize=1`]
    const result = await runCommand(qemu, [...machine, ...device], limits.kvmProbeMs)
    if (result.exitCode === firmwareExitCode) return undefined
    if (result.timedOut)
      return `a test guest did not get through a fraction of a second of work in ${limits.kvmProbeMs} ms`
    if (result.errno === 'ENOENT') return `${qemu} is not installed`
    return `QEMU refused it: ${result.stderr.trim().split('\n')[0] ?? `exit code ${result.exitCode}`}`
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/**
 * The group through which users other than root may open /dev/kvm: a VM's process has to be in it.
 * Undefined when the device is missing, or no group may.
 */
export function kvmGroup(device = '/dev/kvm'): number | undefined {
  const stat = statSync(device, { throwIfNoEntry: false })
  return stat !== undefined && (stat.mode & 0o060) === 0o060 ? stat.gid : undefined
}

function everyoneMayOpen(device: string): boolean {
  const stat = statSync(device, { throwIfNoEntry: false })
  return stat !== undefined && (stat.mode & 0o006) === 0o006
}

export interface ChooseAcceleratorOptions {
  /** where the verdict of this boot is kept */
  cacheFile: string
  /** `RAMET_ACCEL`; default that of the environment */
  override?: string | undefined
  qemu?: string
  device?: string
  /** VMs run as users of their own, so it is not enough that this process may open the device */
  separateUsers?: boolean
  run?: typeof runProbeGuest
}

/**
 * Decides on KVM or TCG: an override, else this boot's verdict, else a probe of at most 2 s.
 *
 * @throws RametError `INVALID_ARGUMENT` for an override that is neither
 */
export async function chooseAccelerator(options: ChooseAcceleratorOptions): Promise<AcceleratorVerdict> {
  const override = 'override' in options ? options.override : process.env.RAMET_ACCEL
  if (override !== undefined && override !== '') {
    if (override !== 'kvm' && override !== 'tcg') {
      throw new RametError('INVALID_ARGUMENT', { message: `RAMET_ACCEL is “${override}”, not “kvm” or “tcg”` })
    }
    return { accelerator: override, finding: `${override.toUpperCase()} is used because RAMET_ACCEL says so` }
  }
  const cached = readCache(options.cacheFile)
  if (cached !== undefined) return cached
  const verdict = await probe(options)
  await writeFile(`${options.cacheFile}.partial`, `${JSON.stringify({ bootId: bootId(), ...verdict })}\n`)
  await rename(`${options.cacheFile}.partial`, options.cacheFile)
  return verdict
}

async function probe(options: ChooseAcceleratorOptions): Promise<AcceleratorVerdict> {
  const device = options.device ?? '/dev/kvm'
  try {
    accessSync(device, constants.R_OK | constants.W_OK)
  } catch {
    return { accelerator: 'tcg', finding: `${device} is missing or may not be opened` }
  }
  if (options.separateUsers === true && kvmGroup(device) === undefined && !everyoneMayOpen(device)) {
    return { accelerator: 'tcg', finding: `${device} may be opened by root only, not by the users of VMs` }
  }
  const failure = await (options.run ?? runProbeGuest)('kvm', options.qemu ?? 'qemu-system-x86_64')
  if (failure === undefined) return { accelerator: 'kvm', finding: 'KVM works: a test guest ran' }
  return { accelerator: 'tcg', finding: `${device} opens, but ${failure}` }
}

function readCache(file: string): AcceleratorVerdict | undefined {
  try {
    const { bootId: boot, accelerator, finding } = JSON.parse(readFileSync(file, 'utf8'))
    if (boot !== bootId() || typeof finding !== 'string') return undefined
    return accelerator === 'kvm' || accelerator === 'tcg' ? { accelerator, finding } : undefined
  } catch {
    return undefined
  }
}

export function acceleratorFinding(verdict: AcceleratorVerdict): Finding {
  if (verdict.accelerator === 'kvm') return fine('kvm', verdict.finding)
  const remedy =
    'Guests run under TCG, several times slower. For KVM use bare metal or a host with nested virtualisation, let this user open /dev/kvm, then remove the cached verdict or reboot.'
  return slow('kvm', verdict.finding, remedy)
}
