import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus, loadavg, release, totalmem } from 'node:os'
import process from 'node:process'
import { promisify } from 'node:util'

/** Where figures were measured; without it they mean nothing. */
export interface MachineFacts {
  at: string
  cpuModel: string
  cpuCount: number
  memoryBytes: number
  kernel: string
  distribution: string
  qemuVersion: string
  accelerator: string
  nodeVersion: string
  /** of the last 1, 5 and 15 minutes, before the measurement: above the number of cores, others were busy here */
  loadAverage: number[]
}

export async function machineFacts(accelerator: string): Promise<MachineFacts> {
  const qemu = await promisify(execFile)('qemu-system-x86_64', ['--version'])
  return {
    at: new Date().toISOString(),
    cpuModel: cpus()[0]?.model.trim() ?? 'unknown',
    cpuCount: cpus().length,
    memoryBytes: totalmem(),
    kernel: release(),
    distribution: /^PRETTY_NAME="(.*)"$/m.exec(osRelease())?.[1] ?? 'unknown',
    qemuVersion: /version (\S+)/.exec(qemu.stdout)?.[1] ?? 'unknown',
    accelerator,
    nodeVersion: process.version,
    loadAverage: loadavg().map((load) => Math.round(load * 100) / 100),
  }
}

function osRelease(): string {
  try {
    return readFileSync('/etc/os-release', 'utf8')
  } catch {
    return ''
  }
}
