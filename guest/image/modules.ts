/** Which kernel modules a guest needs before it has a root file system, and in which order they load. */
import { RametError } from '../../src/shared/errors.ts'

export interface WantedModule {
  /** as `modprobe` takes it; dashes and underscores are the same */
  name: string
  /** some kernels lack it, and guests do without */
  optional?: true
}

/** What the machine that Ramet builds consists of, disk and network included. */
export const guestModules: readonly WantedModule[] = [
  { name: 'virtio_pci' },
  { name: 'virtio_console' },
  { name: 'virtio_rng' },
  { name: 'virtio_blk' },
  { name: 'virtio_net' },
  { name: 'ext4' },
  { name: 'af_packet' },
  // reports a panic to the host, which otherwise sees a reset only
  { name: 'pvpanic_pci', optional: true },
  // reseeds the guest kernel's generator in every child; not in the cloud kernel of Debian 12
  { name: 'vmgenid', optional: true },
]

/** The two lists that describe a kernel's modules. */
export interface ModuleLists {
  /** text of `modules.dep`: `path: dependency dependency` */
  dep: string
  /** text of `modules.builtin`: a path a line */
  builtin: string
}

/**
 * Paths below the module directory, dependencies first, each once.
 *
 * @throws RametError `IMAGE_BUILD_FAILED` when the kernel has a wanted module neither as a file nor built in
 */
export function moduleLoadOrder(wanted: readonly WantedModule[], lists: ModuleLists): string[] {
  const dependencies = parseDependencies(lists.dep)
  const pathByName = new Map([...dependencies.keys()].map((path) => [moduleName(path), path]))
  const builtin = new Set(lists.builtin.split('\n').filter(Boolean).map(moduleName))
  const order = new Set<string>()
  for (const { name, optional } of wanted) {
    const path = pathByName.get(name)
    if (path !== undefined) visit(path, dependencies, order, new Set())
    else if (!builtin.has(name) && !optional) {
      throw new RametError('IMAGE_BUILD_FAILED', { message: `the kernel has no module ${name}` })
    }
  }
  return [...order]
}

/** `kernel/drivers/char/virtio-rng.ko.xz` is the module `virtio_rng`. */
export function moduleName(path: string): string {
  const file = path.slice(path.lastIndexOf('/') + 1)
  return file.replace(/\.ko(\.(xz|zst|gz))?$/, '').replaceAll('-', '_')
}

function parseDependencies(text: string): Map<string, string[]> {
  const dependencies = new Map<string, string[]>()
  for (const line of text.split('\n')) {
    const colon = line.indexOf(':')
    if (colon > 0)
      dependencies.set(
        line.slice(0, colon),
        line
          .slice(colon + 1)
          .split(' ')
          .filter(Boolean),
      )
  }
  return dependencies
}

function visit(path: string, dependencies: Map<string, string[]>, order: Set<string>, above: Set<string>): void {
  if (order.has(path)) return
  if (above.has(path)) {
    throw new RametError('IMAGE_BUILD_FAILED', { message: `kernel module ${path} depends on itself` })
  }
  above.add(path)
  for (const dependency of dependencies.get(path) ?? []) visit(dependency, dependencies, order, above)
  above.delete(path)
  order.add(path)
}
