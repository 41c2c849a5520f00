import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { chmod, cp, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { after, before, describe, it } from 'node:test'
import { promisify } from 'node:util'
import { repositoryRoot } from '../tools/rules/source.ts'
import { cacheDirectory, environmentOf, isRoot } from './support/environment.ts'
import { findLeaks, hostState } from './support/leaks.ts'

const run = promisify(execFile)

/** Who has no right to anything here; without root it is whoever runs the tests. */
const nobody = 65534
const asUser = isRoot ? ['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups', '--'] : []
const cli = join(repositoryRoot, 'bin/ramet')

/** Why the user cannot run this checkout, if so: a clone below a home directory that is closed to others. */
async function keptOut(): Promise<string | false> {
  const [command = '', ...args] = [...asUser, cli, '--version']
  const failure = await run(command, args, { cwd: '/', env: environmentOf('/') }).catch((error: Error) => error)
  return failure instanceof Error ? `user ${nobody} cannot run ${cli}: ${failure.message}` : false
}

describe('without any privilege', { skip: await keptOut() }, () => {
  const stateBefore = hostState()
  let home: string
  let dataDir: string
  let environment: NodeJS.ProcessEnv

  async function ramet(...words: string[]): Promise<string> {
    const [command = '', ...args] = [...asUser, cli, ...words]
    return (await run(command, args, { cwd: '/', env: environment })).stdout
  }

  /** Rows of a `-o json` answer. */
  async function list<T>(...words: string[]): Promise<T[]> {
    return JSON.parse(await ramet(...words, '-o', 'json')) as T[]
  }

  before(async () => {
    home = await mkdtemp(join(tmpdir(), 'ramet-test-'))
    await chmod(home, 0o700)
    dataDir = join(home, '.local/share/ramet')
    // Nothing but a home: every place is found by itself, the images are built here.
    const { RAMET_DATA_DIR: _data, RAMET_CACHE_DIR: _cache, RAMET_IMAGES_DIR: _images, ...rest } = environmentOf('/')
    const { XDG_DATA_HOME: _dataHome, XDG_CACHE_HOME: _cacheHome, XDG_RUNTIME_DIR: _run, ...inherited } = rest
    environment = { ...inherited, HOME: home, TMPDIR: home }
    // The kernel's package, so that it is not fetched with every run of the tests.
    const cache = join(home, '.cache/ramet/kernel')
    await mkdir(cache, { recursive: true })
    await cp(join(cacheDirectory, 'kernel'), cache, { recursive: true }).catch(() => undefined)
    if (isRoot) await run('chown', ['-R', `${nobody}:${nobody}`, home])
    await ramet('image', 'build', 'micro')
  })
  after(async () => {
    await ramet('rm', '--all', '--force').catch(() => {})
    await ramet('template', 'rm', 'mine').catch(() => {})
    await ramet('serve', '--stop').catch(() => {})
    const leaks = findLeaks(dataDir, stateBefore)
    await rm(home, { recursive: true, force: true })
    assert.deepEqual(leaks, [])
  })

  it('boots, forks, and gives each child an identity of its own', async () => {
    await ramet('create', 'micro', '--name', 'first')
    await ramet('start', 'first')
    assert.equal((await ramet('exec', 'first', 'hostname')).trim(), 'first')
    const [first] = await list<{ pid: number }>('ls')
    assert.equal(await uidOf(first?.pid), isRoot ? nobody : process.getuid?.(), 'QEMU runs as the user, too')
    await ramet('exec', 'first', 'sh', '-c', 'echo kept >/run/state')
    await ramet('template', 'create', 'mine', '--from', 'first')
    await ramet('fork', 'mine', '--count', '2')
    const who = 'hostname; cat /etc/machine-id /sys/class/net/eth0/address'
    const told = await Promise.all(
      ['mine-0', 'mine-1'].map((name) => ramet('exec', name, 'sh', '-c', `cat /run/state; ${who}`)),
    )
    const [one = [], other = []] = told.map((text) => text.trim().split('\n'))
    assert.deepEqual(
      [one.slice(0, 2), other.slice(0, 2)],
      [
        ['kept', 'mine-0'],
        ['kept', 'mine-1'],
      ],
    )
    assert.notEqual(one[2], other[2])
    assert.notEqual(one[3], other[3])
  })

  it('refuses the network that only root can keep from the host, and says so', async () => {
    await assert.rejects(ramet('create', 'micro', '--network', 'user'), (error: { code: number; stderr: string }) => {
      assert.equal(error.code, 2)
      assert.match(error.stderr, /the network `user` needs a daemon that runs as root/)
      assert.match(error.stderr, /remedy: Run the daemon as root/)
      return true
    })
  })

  it('removes everything', async () => {
    await ramet('rm', '--all', '--force')
    await ramet('template', 'rm', 'mine')
    assert.deepEqual(await list('ls', '--all'), [])
    await ramet('serve', '--stop')
    assert.deepEqual(findLeaks(dataDir, stateBefore), [])
  })
})

async function uidOf(pid: number | undefined): Promise<number> {
  return Number(/^Uid:\s+(\d+)/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1])
}
