/** Debian's package manager as builds use it: the host's own configuration, nothing installed on the host. */
import { constants } from 'node:fs'
import { access, chown, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import process from 'node:process'
import { RametError } from '../../src/shared/errors.ts'
import type { RunCommand } from './command.ts'

export const debianSuite = 'bookworm'
const debianKeyring = '/usr/share/keyrings/debian-archive-keyring.gpg'
const suites = new Set([debianSuite, `${debianSuite}-updates`, `${debianSuite}-security`])

/**
 * Lines of a `sources.list` for the suite that images are made of: the host's own sources of that suite, so that a
 * mirror configured there is used; else the mirror that `RAMET_DEBIAN_MIRROR` names.
 *
 * @returns no line on a host of another release or distribution without that setting
 */
export async function suiteSources(run: RunCommand, mirror = process.env.RAMET_DEBIAN_MIRROR): Promise<string[]> {
  const format = '$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)'
  const text = await run('apt-get', ['indextargets', '--format', format, 'Created-By: Packages']).catch(() => '')
  const options = await signedBy()
  const own = parseTargets(text, options)
  if (own.some((line) => line.endsWith(` ${debianSuite} main`))) return own
  return mirror === undefined || mirror === '' ? [] : [`deb ${options}${mirror} ${debianSuite} main`]
}

/** @param text a line a target: address, release, component, origin, separated by bars */
export function parseTargets(text: string, options = ''): string[] {
  const lines = new Set<string>()
  for (const line of text.split('\n')) {
    const [uri = '', release = '', component = '', origin = ''] = line.split('|')
    // Other parties name their suites after Debian's; an origin not yet known is one that was never fetched.
    const isDebian = origin === 'Debian' || origin === '' || origin.startsWith('$(')
    if (uri !== '' && suites.has(release) && component === 'main' && isDebian) {
      lines.add(`deb ${options}${uri} ${release} ${component}`)
    }
  }
  return [...lines]
}

/** Newer releases no longer trust Debian's keys for every source, so that the key must be named. */
async function signedBy(): Promise<string> {
  const present = await access(debianKeyring, constants.R_OK).then(
    () => true,
    () => false,
  )
  return present ? `[signed-by=${debianKeyring}] ` : ''
}

/** The host's settings on how to fetch (proxies, retries, mirrors frozen in time), as `NAME "VALUE";`. */
export async function fetchSettings(run: RunCommand): Promise<string[]> {
  const text = await run('apt-config', ['dump', 'Acquire', '--format', '%F "%v";%n']).catch(() => '')
  const wanted = /^Acquire::(https?::|ftp::)?(Proxy|Proxy-Auto-Detect|Retries|Timeout|Check-Valid-Until|Check-Date)\b/i
  return text.split('\n').filter((line) => wanted.test(line) && !/ "";$/.test(line))
}

/**
 * Options that give apt lists and sources of its own in `dir`; for a host whose lists are stale or lack the package.
 * The lists are fetched.
 *
 * @throws RametError `HOST_UNFIT` when nothing says where Debian's packages are to be had
 */
export async function privateApt(dir: string, run: RunCommand): Promise<string[]> {
  for (const part of ['lists/partial', 'cache/archives/partial']) await mkdir(join(dir, part), { recursive: true })
  const lines = await suiteSources(run)
  if (lines.length === 0) {
    throw new RametError('HOST_UNFIT', {
      message: `this host has no package source of Debian ${debianSuite}, which the guest kernel comes from`,
      remediation: 'Set RAMET_DEBIAN_MIRROR to the address of a Debian mirror, for the daemon that builds the image.',
    })
  }
  const sources = join(dir, 'sources.list')
  await writeFile(sources, `${lines.join('\n')}\n`)
  await writeFile(join(dir, 'status'), '')
  await giveToSandbox(join(dir, 'lists/partial'))
  const settings = {
    'Dir::Etc::sourcelist': sources,
    'Dir::Etc::sourceparts': '/dev/null',
    'Dir::State': dir,
    'Dir::State::lists': join(dir, 'lists'),
    'Dir::State::status': join(dir, 'status'),
    'Dir::Cache': join(dir, 'cache'),
    'APT::Architecture': 'amd64',
  }
  const options = Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`])
  await run('apt-get', [...options, 'update'])
  return options
}

/** As root, apt fetches as its user `_apt`, who must be able to write there. */
export async function giveToSandbox(dir: string): Promise<void> {
  if (process.getuid?.() !== 0) return
  const users = await readFile('/etc/passwd', 'utf8').catch(() => '')
  const uid = /^_apt:[^:]*:(\d+):/m.exec(users)?.[1]
  if (uid !== undefined) await chown(dir, Number(uid), 0)
}
