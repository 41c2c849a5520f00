/** Debian's static busybox as the user land of `micro`. */
import { readFile } from 'node:fs/promises'
import { RametError } from '../../src/shared/errors.ts'
import { isStaticElf } from './agent-binary.ts'
import type { RunCommand } from './command.ts'
import type { CpioEntry } from './cpio.ts'
import { findTool } from './host-tools.ts'

export interface Busybox {
  binary: Buffer
  /** paths below the root: `bin/ls` */
  applets: string[]
}

export async function readBusybox(run: RunCommand): Promise<Busybox> {
  const path = await findTool('busybox')
  const binary = path === undefined ? Buffer.alloc(0) : await readFile(path)
  if (path === undefined || !isStaticElf(binary)) {
    const command = 'apt-get install -y --no-install-recommends busybox-static'
    throw new RametError('HOST_UNFIT', {
      message: 'the host’s busybox is not the static one',
      remediation: `Run, as root: ${command}`,
      details: { missing: ['busybox'], packages: ['busybox-static'], command },
    })
  }
  const applets = (await run(path, ['--list-full'])).split('\n').filter(Boolean)
  return { binary, applets }
}

/** Busybox, its applets, and the few files that programs of a Unix system expect. */
export function busyboxEntries(busybox: Busybox): CpioEntry[] {
  const directories = [
    'bin',
    'sbin',
    'usr',
    'usr/bin',
    'usr/sbin',
    'var',
    'etc/ramet/pre-snapshot.d',
    'etc/ramet/post-fork.d',
  ]
  const applets = busybox.applets.filter((path) => /^(usr\/)?s?bin\/[^/]+$/.test(path) && path !== 'bin/busybox')
  const text = (path: string, content: string): CpioEntry => ({ kind: 'file', path, data: Buffer.from(content) })
  return [
    ...directories.map((path): CpioEntry => ({ kind: 'directory', path })),
    { kind: 'file', path: 'bin/busybox', mode: 0o755, data: busybox.binary },
    ...applets.map((path): CpioEntry => ({ kind: 'symlink', path, target: '/bin/busybox' })),
    { kind: 'symlink', path: 'etc/mtab', target: '/proc/mounts' },
    text('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n'),
    text('etc/group', 'root:x:0:\nnogroup:x:65534:\n'),
    text('etc/shells', '/bin/sh\n'),
    text('etc/hostname', 'ramet\n'),
    text('etc/hosts', '127.0.0.1 localhost\n::1 localhost\n'),
    text('etc/profile', 'export PATH=/usr/sbin:/usr/bin:/sbin:/bin\n'),
  ]
}
