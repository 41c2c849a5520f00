import { mkdir, mkdtemp, rename, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { debianSuite, fetchSettings, suiteSources } from '../../guest/image/apt.ts'
import { commandRunner, openBuildLog } from '../../guest/image/command.ts'
import { ownsTreesItself } from '../../guest/image/tree-owner.ts'
import { cacheDirectory } from './environment.ts'

// Without udev, systemd waits 90 s for the device of its console.
const packages = ['systemd-sysv', 'udev', 'dbus', 'iproute2']

/** A root file system as somebody else would bring it: Debian with systemd, made once and kept. @returns its tar file */
export async function systemdRoot(): Promise<string> {
  const dir = join(cacheDirectory, 'campaign')
  const target = join(dir, `systemd-${debianSuite}.tar`)
  if (await stat(target).catch(() => undefined)) return target
  await mkdir(dir, { recursive: true })
  const work = await mkdtemp(join(tmpdir(), 'ramet-systemd-'))
  try {
    await using log = await openBuildLog(join(work, 'log'))
    const run = commandRunner(log)
    const part = join(work, 'root.tar')
    const mode = ownsTreesItself() ? 'root' : 'unshare'
    const settings = await fetchSettings(run)
    await run('mmdebstrap', [
      ...[`--mode=${mode}`, '--variant=minbase', '--format=tar', `--include=${packages.join(',')}`],
      ...settings.map((line) => `--aptopt=${line}`),
      ...[debianSuite, part, ...(await suiteSources(run))],
    ])
    // Whole or not at all, also when the cache is on another file system.
    const near = `${target}.${process.pid}`
    await run('cp', ['--sparse=always', part, near])
    await rename(near, target)
    return target
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}
