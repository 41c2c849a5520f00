/** Probes of what this host allows with memory. */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs'
import { errnoOf } from '../shared/errors.ts'
import { formatBytes, limits } from '../shared/limits.ts'
import { type Finding, fine, missing, slow } from './finding.ts'
import { check, syscallRaw } from './libc.ts'
import { createMemfd, immutableSeals, sealFile } from './memfd.ts'
import { type MemoryInfo, readMemoryInfo } from './meminfo.ts'
import { readMaps } from './proc-maps.ts'
import { signalProcess, waitForExit } from './process-identity.ts'
import { type ProcessUser, spawnDetached } from './spawn-detached.ts'
import { userfaultfdDevice } from './userfaultfd.ts'

/** The file's text without blanks at its ends; undefined when it cannot be read. */
export function readSetting(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return undefined
  }
}

export function memoryFinding(memory: MemoryInfo = readMemoryInfo()): Finding {
  const free = formatBytes(memory.availableBytes)
  const finding = `${free} of ${formatBytes(memory.totalBytes)} of memory are available`
  if (memory.availableBytes >= limits.hostReserveBytes + limits.comfortableMemoryBytes) return fine('memory', finding)
  return slow('memory', finding, 'Free memory, or run fewer and smaller VMs.')
}

/** Bases live in sealed memory files; without them there is no fork. */
export function memfdFinding(): Finding {
  try {
    const fd = createMemfd('ramet-probe', 4096)
    try {
      sealFile(fd, immutableSeals)
    } finally {
      closeSync(fd)
    }
    return fine('memfd', 'memory files can be made and sealed; only free memory limits their size')
  } catch (error) {
    const finding = `memory files cannot be made or sealed (${errnoOf(error)})`
    return missing('memfd', finding, 'Use a kernel of version 5.10 or newer, with CONFIG_MEMFD_CREATE.')
  }
}

const sysUserfaultfd: Partial<Record<NodeJS.Architecture, number>> = { x64: 323, arm64: 282 }

/** Whether this very process may use userfaultfd for faults of the kernel too, as QEMU does. */
export function userfaultfdWorks(): boolean {
  const number = sysUserfaultfd[process.arch]
  if (number === undefined) return false
  try {
    closeSync(Number(check('userfaultfd', syscallRaw(number, 0o2000000, 0, 0, 0))))
    return true
  } catch {
    return false
  }
}

export interface UserfaultfdFacts {
  /** by this process */
  works: boolean
  privileged: boolean
  /** `vm.unprivileged_userfaultfd` */
  sysctl: string | undefined
  /** why this daemon cannot lend userfaultfd to its VMs; undefined when it can */
  obstacle: string | undefined
}

/** Without it the pause of a fork of a running VM grows with what the VM has written. */
export function userfaultfdFinding(facts: UserfaultfdFacts): Finding {
  const name = 'userfaultfd'
  if (facts.sysctl === '1') return fine(name, 'every user may use userfaultfd')
  if (facts.obstacle === undefined)
    return fine(name, `VMs use userfaultfd through ${userfaultfdDevice}, which is lent to them`)
  const finding = `${facts.obstacle}: pauses of forks grow with what a VM has written`
  if (!facts.works && facts.privileged) {
    return slow(name, finding, 'Use a kernel of version 6.1 or newer, with CONFIG_USERFAULTFD.')
  }
  if (/cc/.test(facts.obstacle) && facts.privileged)
    return slow(name, finding, 'Install a compiler: apt-get install gcc')
  const device = `let the daemon open ${userfaultfdDevice} (Linux 6.1 and newer)`
  return slow(name, finding, `Run the daemon as root, or ${device}.`)
}

/**
 * Tries to read the memory of a process of a VM's user, as a live fork has to.
 *
 * @param user whom VMs run as; absent: as this process
 */
export async function processMemoryFinding(user?: ProcessUser): Promise<Finding> {
  const name = 'proc-mem'
  const remedy =
    'Run the daemon as root, or set the sysctl kernel.yama.ptrace_scope=0; until then forks of running VMs pause longer.'
  const scope = readSetting('/proc/sys/kernel/yama/ptrace_scope') ?? '0'
  const { identity } = await spawnDetached({
    command: '/bin/sleep',
    args: ['60'],
    ...(user === undefined ? {} : { user }),
  })
  try {
    readSomeMemory(identity.pid)
  } catch (error) {
    return slow(name, `the memory of a VM's process cannot be read (${errnoOf(error)})`, remedy)
  } finally {
    signalProcess(identity, 'SIGKILL')
    await waitForExit(identity)
  }
  if (process.geteuid?.() !== 0 && scope !== '0') {
    return slow(name, 'only VMs started by the running daemon can be read, not those of one before it', remedy)
  }
  return fine(name, "the memory of a VM's process can be read")
}

function readSomeMemory(pid: number): void {
  const mapping = readMaps(pid).find(({ permissions }) => permissions.startsWith('r'))
  if (mapping === undefined) return
  const fd = openSync(`/proc/${pid}/mem`, 'r')
  try {
    readSync(fd, Buffer.alloc(16), 0, 16, mapping.start)
  } finally {
    closeSync(fd)
  }
}

/** A base fills its holes as children touch them: with huge pages in units of 2 MiB, so it grows faster. */
export function hugePageFinding(setting = readSetting('/sys/kernel/mm/transparent_hugepage/shmem_enabled')): Finding {
  const chosen = /\[(\w+)\]/.exec(setting ?? '')?.[1] ?? 'never'
  const finding = `huge pages for memory files: ${chosen}`
  if (chosen === 'never' || chosen === 'deny') return fine('huge-pages', finding)
  const remedy = 'Set /sys/kernel/mm/transparent_hugepage/shmem_enabled to never, so that bases fill page by page.'
  return slow('huge-pages', finding, remedy)
}
