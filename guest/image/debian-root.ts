/** Debian's root file system as a tar file, by mmdebstrap. */
import { chmod, mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { debianSuite, fetchSettings, suiteSources } from './apt.ts'
import type { RunCommand } from './command.ts'
import { ownsTreesItself } from './tree-owner.ts'
import type { Bench, Workshop } from './workshop.ts'

export const debianPackages = ['python3', 'iproute2', 'procps', 'ca-certificates', 'kmod']

/** Nobody reads manuals in a guest that is thrown away. */
const leftOut = ['/usr/share/man/*', '/usr/share/doc/*', '/usr/share/info/*', '/usr/share/locale/*']

/** Over what mmdebstrap leaves, which copies the host's name and resolver. Its package sources stay: they work here. */
export const overlayFiles: Readonly<Record<string, string>> = {
  'etc/hostname': 'ramet\n',
  'etc/hosts': '127.0.0.1 localhost\n::1 localhost\n',
  'etc/resolv.conf': 'nameserver 10.0.2.3\n',
  'etc/machine-id': '',
  'etc/apt/apt.conf.d/99mmdebstrap':
    '// Nothing is installed but what was asked for.\nAPT::Install-Recommends "false";\n',
}

/** @returns path of the tar file */
export async function bootstrapDebian(shop: Workshop, bench: Bench, kernelRoot: string): Promise<string> {
  const { run } = shop
  const overlay = await packOverlay(shop, bench, kernelRoot)
  const target = join(bench.work, 'root.tar')
  const settings = await fetchSettings(run)
  const args = [
    ...[`--mode=${ownsTreesItself() ? 'root' : 'unshare'}`, '--variant=minbase', '--format=tar'],
    `--include=${debianPackages.join(',')}`,
    ...settings.map((line) => `--aptopt=${line}`),
    ...leftOut.map((path) => `--dpkgopt=path-exclude=${path}`),
    '--dpkgopt=path-include=/usr/share/doc/*/copyright',
    // Split like a shell's words, so quoted like them.
    `--customize-hook=tar-in '${overlay.replaceAll("'", "'\\''")}' /`,
    // Without sources mmdebstrap takes Debian's own.
    ...[debianSuite, target, ...(await suiteSources(run))],
  ]
  shop.report('root', `installing Debian ${debianSuite}`)
  const onErrorLine = (line: string) => {
    const message = /^I: (.*)/.exec(line)?.[1]
    if (message !== undefined) shop.report('root', message)
  }
  // Its own directory is inside ours, so that it is swept should both be killed.
  const [command = '', ...rest] = [...(await ownMounts(run)), 'mmdebstrap', ...args]
  await run(command, rest, { onErrorLine, env: { TMPDIR: bench.work } })
  return target
}

/**
 * As root, mmdebstrap mounts the host's proc, sys and devices in its tree for all to see. In a mount namespace of
 * its own they end with it, even when it is killed, and sweeping never walks into them. A user namespace has that anyway.
 */
async function ownMounts(run: RunCommand): Promise<string[]> {
  if (!ownsTreesItself()) return []
  const unshare = ['unshare', '--mount', '--propagation', 'private', '--']
  const [command = '', ...args] = [...unshare, 'true']
  // A container without that right lets mmdebstrap mount nothing either.
  const allowed = await run(command, args).then(
    () => true,
    () => false,
  )
  return allowed ? unshare : []
}

/** The overlay's files, the hooks' directories and the kernel's modules as one tar file owned by root. */
async function packOverlay(shop: Workshop, bench: Bench, kernelRoot: string): Promise<string> {
  const dir = join(bench.work, 'overlay')
  for (const [path, text] of Object.entries(overlayFiles)) {
    await mkdir(join(dir, dirname(path)), { recursive: true })
    await writeFile(join(dir, path), text)
  }
  for (const path of ['etc/ramet/pre-snapshot.d', 'etc/ramet/post-fork.d', 'usr/lib']) {
    await mkdir(join(dir, path), { recursive: true })
  }
  await rename(join(kernelRoot, 'lib', 'modules'), join(dir, 'usr', 'lib', 'modules'))
  const modules = join(dir, 'usr', 'lib', 'modules', shop.kernel.release)
  for (const name of ['build', 'source']) await rm(join(modules, name), { force: true })
  const members = await readdir(dir)
  const tar = join(bench.work, 'overlay.tar')
  const owner = ['--owner=0', '--group=0', '--numeric-owner', '--mode=u=rwX,go=rX', '--sort=name']
  await shop.run('tar', ['--create', '--file', tar, ...owner, '--directory', dir, ...members])
  await rm(dir, { recursive: true })
  await chmod(tar, 0o644)
  return tar
}
