import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'

/** What there was on the host before, so that only what is new is looked at. */
export interface HostState {
  groups: ReadonlySet<string>
  sharedMemory: ReadonlySet<string>
}

export function hostState(): HostState {
  return { groups: new Set(cgroups()), sharedMemory: new Set(namesIn('/dev/shm')) }
}

/** One line for each thing of a data directory that is still on the host; none is what a test wants. */
export function findLeaks(dataDir: string, before: HostState): string[] {
  const ids = idsIn(dataDir)
  return [
    ...processesOf(dataDir, ids),
    ...namesIn('/dev/shm')
      .filter((name) => !before.sharedMemory.has(name) && (ids.has(name) || name.startsWith('ramet')))
      .map((name) => `shared memory ${name}`),
    ...cgroups()
      .filter((path) => !before.groups.has(path) && ids.has(path.slice(path.lastIndexOf('/') + 1)))
      .map((path) => `control group ${path}`),
    ...linesWith('/proc/net/unix', dataDir).map((line) => `socket ${line}`),
    ...linesWith('/proc/self/mountinfo', dataDir).map((line) => `mount ${line}`),
    ...['vms', 'templates', 'deltas', 'snapshots', 'suspended', 'consoles']
      .flatMap((name) => namesIn(join(dataDir, name)).map((entry) => `${name}/${entry}`))
      .map((path) => `file ${path}`),
    ...namesIn(dataDir)
      .filter((name) => !lasting.has(name))
      .map((name) => `file ${name}`),
  ]
}

/** What a data directory has when nothing is in it. */
const lasting: ReadonlySet<string> = new Set([
  'accelerator.json',
  'consoles',
  'deltas',
  'daemon.json',
  'daemon.lock',
  'reserve',
  'daemon.log',
  'daemon.pid',
  'images',
  'ramet.db',
  'ramet.db-shm',
  'ramet.db-wal',
  'snapshots',
  'page-server.lock',
  'page-server.log',
  'suspended',
  'templates',
  'token',
  'vms',
])

/**
 * Every id of a vm and a base that was ever journalled here. The journal is written before a thing is made, and
 * what is deleted from a database stays readable in its file for a while: more than enough to recognise leftovers.
 */
export function idsIn(dataDir: string): Set<string> {
  const ids = new Set<string>()
  for (const name of ['ramet.db', 'ramet.db-wal']) {
    const path = join(dataDir, name)
    if (!existsSync(path)) continue
    for (const [id] of readFileSync(path, 'latin1').matchAll(/\b(?:vm|base)-[a-z0-9]{8,}\b/g)) ids.add(id)
  }
  return ids
}

/** Processes that work in a data directory, name it, or hold a file or a base of it. */
export function processesOf(dataDir: string, ids: ReadonlySet<string> = idsIn(dataDir)): string[] {
  const found: string[] = []
  for (const pid of readdirSync('/proc')) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue
    const command = readText(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim()
    const why = ownership(pid, command, dataDir, ids)
    if (why !== undefined) found.push(`process ${pid} (${why}): ${command.slice(0, 200)}`)
  }
  return found
}

function ownership(pid: string, command: string, dataDir: string, ids: ReadonlySet<string>): string | undefined {
  if (command.includes(dataDir)) return 'by its arguments'
  if (linkOf(`/proc/${pid}/cwd`).startsWith(dataDir)) return 'by its directory'
  for (const fd of namesIn(`/proc/${pid}/fd`)) {
    const target = linkOf(`/proc/${pid}/fd/${fd}`)
    if (target.startsWith(`${dataDir}/`)) return `by its descriptor of ${target}`
    const base = /ramet-(base-[a-z0-9]+)/.exec(target)?.[1]
    if (base !== undefined && ids.has(base)) return `by its descriptor of ${base}`
  }
  return undefined
}

/** Pids of the keepers of a data directory's bases. */
export function keepersOf(dataDir: string): number[] {
  const ids = idsIn(dataDir)
  return readdirSync('/proc')
    .filter((pid) => /^\d+$/.test(pid))
    .filter((pid) => {
      const name = readText(`/proc/${pid}/cmdline`).split('\0')[0] ?? ''
      const base = /^ramet-(base-[a-z0-9]+)$/.exec(name)?.[1]
      return base !== undefined && ids.has(base)
    })
    .map(Number)
}

/** Every control group below one that Ramet makes. */
function cgroups(): string[] {
  const roots = ['/sys/fs/cgroup', ...namesIn('/sys/fs/cgroup').map((name) => join('/sys/fs/cgroup', name))]
  return roots.flatMap((root) => {
    const parent = join(root, 'ramet')
    return namesIn(parent)
      .filter((name) => name.startsWith('vm-'))
      .map((name) => join(parent, name))
  })
}

function linesWith(path: string, text: string): string[] {
  return readText(path)
    .split('\n')
    .filter((line) => line.includes(text))
}

export function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch {
    return []
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return ''
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}
