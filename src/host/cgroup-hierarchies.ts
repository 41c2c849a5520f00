/** Where this host lets Ramet limit CPU and memory: control groups of version 2, 1, or a mix of both. */
import { accessSync, constants, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

export type Controller = 'cpu' | 'memory'

export interface Hierarchy {
  readonly version: 1 | 2
  /** the group under which each vm gets its own; holds no process itself */
  readonly directory: string
  readonly controllers: readonly Controller[]
}

export interface HostCgroups {
  /** text of `/proc/self/mounts` */
  mounts: string
  /** text of `/proc/self/cgroup` */
  ownGroups: string
  privileged: boolean
}

const wanted: readonly Controller[] = ['memory', 'cpu']

export function readHostCgroups(): HostCgroups {
  return {
    mounts: readFileSync('/proc/self/mounts', 'utf8'),
    ownGroups: readFileSync('/proc/self/cgroup', 'utf8'),
    privileged: process.geteuid?.() === 0,
  }
}

/**
 * Prepares a parent group for each hierarchy that has one of the controllers and can be written, and
 * returns those. A controller is bound to version 1 or 2 of the whole host, never to both.
 *
 * @param name of the parent group
 */
export function prepareHierarchies(host: HostCgroups, name: string): Hierarchy[] {
  const hierarchies: Hierarchy[] = []
  for (const mount of cgroupMounts(host.mounts)) {
    const parent = parentOf(mount, host)
    const directory = join(parent, name)
    const controllers =
      mount.version === 1 ? prepareV1(directory, mount.options) : prepareV2(parent, directory, availableIn(parent))
    if (controllers.length > 0) hierarchies.push({ version: mount.version, directory, controllers })
  }
  return hierarchies
}

interface CgroupMount {
  version: 1 | 2
  directory: string
  options: string[]
}

function cgroupMounts(mounts: string): CgroupMount[] {
  const found: CgroupMount[] = []
  for (const line of mounts.split('\n')) {
    const [, directory = '', type, options = ''] = line.split(' ')
    if (type === 'cgroup2') found.push({ version: 2, directory, options: [] })
    if (type === 'cgroup') found.push({ version: 1, directory, options: options.split(',') })
  }
  return found
}

/** Root works below the top. Others have what was delegated to them: the group above their own. */
function parentOf(mount: CgroupMount, host: HostCgroups): string {
  if (host.privileged) return mount.directory
  const own = host.ownGroups.split('\n').flatMap((line) => {
    const [id, controllers = '', path = '/'] = line.split(':')
    const fits = mount.version === 2 ? id === '0' : controllers.split(',').some((name) => mount.options.includes(name))
    return fits ? [path] : []
  })[0]
  return join(mount.directory, dirname(own ?? '/'))
}

function availableIn(directory: string): Controller[] {
  try {
    const names = readFileSync(join(directory, 'cgroup.controllers'), 'utf8').split(/\s/)
    return wanted.filter((controller) => names.includes(controller))
  } catch {
    return []
  }
}

function prepareV1(directory: string, options: readonly string[]): Controller[] {
  const controllers = wanted.filter((controller) => options.includes(controller))
  return controllers.length > 0 && makeWritable(directory) ? controllers : []
}

/** A group's children have only those controllers that every group above has enabled for its children. */
function prepareV2(parent: string, directory: string, offered: readonly Controller[]): Controller[] {
  const here = offered.filter((controller) => enable(parent, controller))
  return here.length > 0 && makeWritable(directory) ? here.filter((controller) => enable(directory, controller)) : []
}

function makeWritable(directory: string): boolean {
  try {
    mkdirSync(directory, { recursive: true })
    accessSync(directory, constants.W_OK)
    return true
  } catch {
    return false
  }
}

/** One at a time: the kernel refuses a list as a whole when one of it cannot be. */
function enable(directory: string, controller: Controller): boolean {
  try {
    writeFileSync(join(directory, 'cgroup.subtree_control'), `+${controller}`, { flag: 'a' })
    return true
  } catch {
    return false
  }
}
