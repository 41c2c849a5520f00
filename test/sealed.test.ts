import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { createReadStream, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { type Template, Vm } from '../src/client/index.ts'
import { isRoot } from './support/environment.ts'
import { Host } from './support/host.ts'
import { keepersOf } from './support/leaks.ts'
import { trespass } from './support/trespass.ts'

const MiB = 1024 * 1024

/** Fills almost all free memory with a byte, and holds it. */
const fillMemory = `free=$(sed -n 's/MemAvailable: *\\([0-9]*\\).*/\\1/p' /proc/meminfo)
mount -o remount,size=100% /tmp; rm -f /tmp/known
tr '\\0' 'Z' < /dev/zero | dd of=/tmp/fill bs=64k count=$(( (free - 16384) / 64 )) iflag=fullblock 2>&1 | tail -1
stat -c %s /tmp/fill`

describe('a sealed base', () => {
  let host: Host
  let template: Template
  let known = ''
  let baseBefore = ''

  before(async () => {
    host = await Host.start()
    template = await host.template('sealed', async (vm) => {
      await vm.commands.run('dd if=/dev/urandom of=/tmp/known bs=1M count=48 2>/dev/null')
      known = await guestHash(vm)
    })
    baseBefore = await hashOf(baseOf(host))
  })
  after(() => host.close())

  it('is not changed by a child that overwrites all its memory', async () => {
    const [bystander, vandal] = await template.forkAll({ count: 2, namePrefix: 'old' })
    assert.ok(bystander instanceof Vm && vandal instanceof Vm)
    const filled = Number((await vandal.commands.run(fillMemory)).stdout.trim().split('\n').at(-1))
    assert.ok(filled > 100 * MiB, `only ${filled} bytes were overwritten`)
    const stats = await vandal.stats()
    assert.ok(stats.memory.privateBytes > 100 * MiB, 'the child has pages of its own')
    assert.equal(await hashOf(baseOf(host)), baseBefore, 'the base itself, through its keeper')
    assert.equal(await guestHash(bystander), known, 'a sibling that ran meanwhile')
    const [fresh] = await template.forkAll({ names: ['new'] })
    assert.ok(fresh)
    assert.equal(await guestHash(fresh), known, 'a child forked afterwards')
    assert.equal((await fresh.commands.run('ls /tmp')).stdout.trim(), 'known')
  })

  it('is mapped by no process in a way that could write to it', async () => {
    const [child] = await template.forkAll({ names: ['mapped'] })
    assert.ok(child?.info.pid)
    const base = mapsOf(child.info.pid).filter((line) => line.includes('ramet-base-'))
    assert.ok(base.length > 0, 'the child maps the base')
    for (const line of base) assert.match(line, /^\S+ rw-p /, 'privately')
    const baseId = baseIdOf(host)
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      const shared = mapsOf(Number(pid)).filter((line) => line.includes(baseId) && /^\S+ .w.s /.test(line))
      assert.deepEqual(shared, [], `process ${pid} could write to the base`)
    }
  })

  it('can neither be written nor punched by the user of a vm, nor can another vm be looked into', async (t) => {
    if (!isRoot) return t.skip('vms have users of their own only when the daemon is root')
    const children = await template.forkAll({ count: 2, namePrefix: 'jail' })
    const [first, second] = children
    assert.ok(first?.info.pid && second?.info.pid)
    const uid = uidOf(first.info.pid)
    assert.ok(uid >= 1000, 'the child runs as a user of its own')
    assert.notEqual(uid, uidOf(second.info.pid), 'and its sibling as another')
    const templateDir = join(host.dataDir, 'templates', template.id)
    const files = readdirSync(templateDir).map((name) => join(templateDir, name))
    assert.ok(files.length > 0)
    const tried = trespass(uid, {
      base: baseOf(host),
      files,
      directory: join(host.dataDir, 'vms', second.id),
      memory: `/proc/${second.info.pid}/mem`,
    })
    const done = Object.entries(tried).filter(([, outcome]) => !outcome.startsWith('refused'))
    assert.deepEqual(done, [])
    assert.equal(Object.keys(tried).length, 9 + files.length)
    assert.equal(await hashOf(baseOf(host)), baseBefore)
  })
})

async function guestHash(vm: Vm): Promise<string> {
  return (await vm.commands.run('sha256sum < /tmp/known')).stdout.split(' ')[0] ?? ''
}

/** Path by which the base of the one template here can be read: its keeper's descriptor. */
function baseOf(host: Host): string {
  const keepers = keepersOf(host.dataDir)
  assert.equal(keepers.length, 1, 'one keeper holds the one base')
  return `/proc/${keepers[0]}/fd/3`
}

function baseIdOf(host: Host): string {
  return (
    readFileSync(`/proc/${keepersOf(host.dataDir)[0]}/cmdline`, 'utf8')
      .split('\0')[0]
      ?.replace('ramet-', '') ?? ''
  )
}

async function hashOf(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path, { highWaterMark: 4 * MiB })) hash.update(chunk)
  return hash.digest('hex')
}

function mapsOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')
  } catch {
    return []
  }
}

function uidOf(pid: number): number {
  return Number(/^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])
}
