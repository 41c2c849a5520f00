/** The programs of the host that builds call, and the packages they are in. */
import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import process from 'node:process'
import { RametError } from '../../src/shared/errors.ts'

const packageOf = {
  'apt-get': 'apt',
  'apt-cache': 'apt',
  'dpkg-deb': 'dpkg',
  depmod: 'kmod',
  make: 'make',
  // The agent uses the kernel's own headers, which the compilers only recommend.
  'musl-gcc': 'musl-tools linux-libc-dev',
  cc: 'gcc',
  busybox: 'busybox-static',
  mmdebstrap: 'mmdebstrap',
  mke2fs: 'e2fsprogs',
  debugfs: 'e2fsprogs',
  e2fsck: 'e2fsprogs',
  resize2fs: 'e2fsprogs',
  'qemu-img': 'qemu-utils',
  tar: 'tar',
  xz: 'xz-utils',
  zstd: 'zstd',
  bzip2: 'bzip2',
  setpriv: 'util-linux',
  newuidmap: 'uidmap',
} as const

export type HostTool = keyof typeof packageOf

/** Administrators' programs are often not on the PATH of an ordinary user. */
export const toolPath = [
  ...new Set([...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/bin', '/sbin', '/bin']),
]
  .filter(Boolean)
  .join(delimiter)

/** Where a program is; undefined when it is not installed. */
export async function findTool(tool: HostTool, path: string = toolPath): Promise<string | undefined> {
  for (const dir of path.split(delimiter)) {
    const candidate = join(dir, tool)
    const usable = await access(candidate, constants.X_OK).then(
      () => true,
      () => false,
    )
    if (usable) return candidate
  }
  return undefined
}

/**
 * @throws RametError `HOST_UNFIT` naming everything that is missing and the one command that installs it
 */
export async function requireTools(tools: readonly HostTool[], path: string = toolPath): Promise<void> {
  const missing: HostTool[] = []
  for (const tool of tools) {
    if ((await findTool(tool, path)) === undefined) missing.push(tool)
  }
  if (missing.length === 0) return
  const packages = [...new Set(missing.flatMap((tool) => packageOf[tool].split(' ')))].sort()
  const command = `apt-get install -y --no-install-recommends ${packages.join(' ')}`
  throw new RametError('HOST_UNFIT', {
    message: `programs for building images are missing: ${missing.join(', ')}`,
    remediation: `Run, as root: ${command}`,
    details: { missing, packages, command },
  })
}
