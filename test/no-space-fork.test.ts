import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { promisify } from 'node:util'
import type { Vm } from '../src/client/index.ts'
import { isRoot } from './support/environment.ts'
import { fill } from './support/full-disk.ts'
import { Host } from './support/host.ts'
import { namesIn } from './support/leaks.ts'
import { assertInOrder } from './support/order.ts'
import { buildSums, type Sums } from './support/sums.ts'

const MiB = 1024 * 1024
const settleMs = 60_000
const run = promisify(execFile)

const write = (vm: Vm, seekMiB: number, countMiB: number) =>
  vm.commands.run(`dd if=/dev/urandom of=/dev/vda bs=1M seek=${seekMiB} count=${countMiB} 2>/dev/null; sync`)

describe('a host that is full and the fork of a running vm', {
  skip: isRoot ? false : 'only root mounts a small file system',
}, () => {
  let mount = ''
  let filler = ''
  let host: Host
  let parent: Vm
  let sumsOf: Sums

  /** The whole disk and what is only in memory. */
  const sums = (vm: Vm) => sumsOf(vm, '/dev/vda', '/tmp/ballast')

  before(async () => {
    sumsOf = await buildSums()
    mount = await mkdtemp(join(tmpdir(), 'ramet-small-'))
    await run('mount', ['-t', 'tmpfs', '-o', 'size=700m,mode=711', 'tmpfs', mount])
    filler = join(mount, 'filler')
    await mkdir(join(mount, 'host'))
    // The first collapse is put off, so that a disk can be filled before it.
    host = await Host.start({ parentDir: join(mount, 'host'), fault: 'collapse.begun=ENOSPC' })
    const disks = [{ sizeBytes: 16 * MiB }, { sizeBytes: 256 * MiB }]
    parent = await host.boot({ name: 'parent', disks })
    await parent.commands.run('dd if=/dev/urandom of=/tmp/ballast bs=1M count=2 2>/dev/null')
    await write(parent, 0, 10)
  })
  after(async () => {
    await rm(filler, { force: true })
    await host.close()
    await run('umount', [mount])
    await rm(mount, { recursive: true, force: true })
  })

  /** Whatever was refused: the parent is as it was, and nothing of a child is left. */
  async function assertOnlyParent(expected: string, when: string, vm = parent): Promise<void> {
    assert.deepEqual(
      (await host.ramet.vms.list())
        .filter(({ name }) => name === 'child' || name === vm.name)
        .map(({ state }) => state),
      ['running'],
      when,
    )
    assert.equal(await sums(vm), expected, when)
    await assertInOrder(host, when)
  }

  async function assertForks(vm: Vm, expected: string): Promise<void> {
    const [child] = await vm.forkAll({ names: ['child'] })
    assert.ok(child)
    assert.equal(await sums(child), expected)
    await child.remove({ force: true })
  }

  async function assertRefused(vm: Vm, code: string, remedy: RegExp, when: string): Promise<void> {
    const [result] = await vm.fork({ names: ['child'] }).catch((error: unknown) => [error])
    assert.ok(result instanceof Error && 'code' in result && 'remediation' in result, `${when}: ${String(result)}`)
    assert.equal(result.code, code, `${when}: ${result.message}`)
    assert.match(String(result.remediation), remedy, when)
  }

  it('leaves a lent delta and the chains over it as they are, until there is room to collapse and merge them', async () => {
    const lender = await host.boot({ name: 'lender', disks: [{ sizeBytes: 48 * MiB }] })
    await lender.commands.run('echo ballast > /tmp/ballast')
    await write(lender, 0, 34)
    const before = await sums(lender)
    const [first] = await lender.forkAll({ names: ['first'] })
    assert.ok(first)
    await write(lender, 36, 6)
    const expected = await sums(lender)
    await host.daemon.says(/no space left.*brought to rest/, settleMs)
    await fill(filler, 0)
    await assertRefused(lender, 'NO_SPACE', /[Ff]ree space/, 'while it lends')
    // Whatever was done on a vm, all disks are looked at: the first child's is collapsed, or would be.
    await host.daemon.says(/collapse0 failed: No space left/, settleMs)
    assert.equal(await sums(first), before)
    await first.remove({ force: true })
    await host.daemon.says(/merge0 failed: No space left/, settleMs)
    await assertOnlyParent(expected, 'over the longer chain', lender)
    await rm(filler)
    await assertForks(lender, expected)
    await host.until('all disks are at rest', async () => {
      const { disk } = await lender.stats()
      return namesIn(`${host.dataDir}/deltas`).length === 0 && disk.chainDepth <= 1
    })
    assert.equal(await sums(lender), expected)
    await lender.remove({ force: true })
  })

  it('refuses it when there is no room, for a copy of its disk or for anything, and lets the next one succeed', async () => {
    const expected = await sums(parent)
    for (const leaveBytes of [518 * MiB, 0]) {
      await fill(filler, leaveBytes)
      await assertRefused(parent, 'NO_SPACE', /[Ff]ree space/, `${leaveBytes} bytes left`)
      await assertOnlyParent(expected, `${leaveBytes} bytes left`)
    }
    await rm(filler)
    await assertForks(parent, expected)
  })

  it('pauses the parent whose own write does not fit, and loses nothing of it', async () => {
    await fill(filler, 0)
    const program = 'dd if=/dev/urandom of=/dev/vda bs=1M seek=10 count=6 2>/dev/null; sync; echo $? > /tmp/done'
    const writing = parent.commands.run(program)
    // Its connection does not survive the daemon's restart below; the program does.
    writing.catch(() => {})
    await host.untilState(parent, 'paused')
    assert.match(String(parent.info.stateReason), /no space left.*ramet resume parent/)
    await assert.rejects(parent.fork({ names: ['child'] }), { code: 'ILLEGAL_STATE' })
    // The next daemon finds it as it is; and its faults are those of the tests that follow.
    await host.restart([...Object.entries(faults).map(([point, { errno }]) => `${point}=${errno}`), stop].join(','))
    assert.equal((await parent.refresh()).state, 'paused')
    assert.match(String(parent.info.stateReason), /no space left/)
    await rm(filler)
    await parent.resume()
    assert.equal(parent.info.stateReason, undefined)
    const { stdout } = await parent.commands.run('while [ ! -s /tmp/done ]; do sleep 0.1; done; cat /tmp/done')
    assert.equal(stdout, '0\n', 'the program in the guest has not noticed')
  })

  const noSpace = { errno: 'ENOSPC', code: 'NO_SPACE', remedy: /[Ff]ree space/ }
  const noMemory = { errno: 'ENOMEM', code: 'NO_CAPACITY', remedy: /removing VMs/ }
  /** Each fails once, so that the next attempt gets as far as the next one. */
  const faults = {
    'disk-point.created': noSpace,
    'memory.buffer': noMemory,
    'live.frozen': noSpace,
    'live.paused': noSpace,
    'live.captured': noSpace,
    'memory.base': noMemory,
    'base.intended': noSpace,
    'process.spawn': { ...noMemory, errno: 'EAGAIN' },
    'base.kept': noSpace,
  }
  const stop = 'disk.copy=stop@2'

  it('at any step of the capture, in memory and on disk, fails it cleanly', async () => {
    const expected = await sums(parent)
    for (const [point, { code, remedy }] of Object.entries(faults)) {
      await assertRefused(parent, code, remedy, point)
      await assertOnlyParent(expected, point)
    }
  })

  it('in the middle of the copy fails it, and pauses the parent that writes meanwhile until there is room', async () => {
    const expected = await sums(parent)
    // Always to a new place, so that it needs room; and each time as much as it says.
    const writing = parent.commands.run(
      `n=0; while [ ! -e /tmp/enough ]; do
         dd if=/tmp/ballast of=/dev/vdb bs=64k count=1 seek=$n conv=fsync 2>/dev/null || echo failed; n=$((n + 1))
       done; echo $n`,
    )
    const refused = assertRefused(parent, 'NO_SPACE', /[Ff]ree space/, 'disk.copy')
    await host.daemon.whileStoppedAt('disk.copy', settleMs, () => fill(filler, 0))
    await refused
    await host.untilState(parent, 'paused')
    assert.match(String(parent.info.stateReason), /no space left.*ramet resume parent/)
    await rm(filler)
    await parent.resume()
    await parent.commands.run('touch /tmp/enough')
    const { stdout } = await writing
    assert.match(stdout, /^\d+\n$/, 'the program in the guest has not noticed')
    const blocks = await parent.commands.run(
      `head -c 65536 /tmp/ballast | md5sum; n=0; while [ $n -lt ${stdout.trim()} ]; do
         dd if=/dev/vdb bs=64k count=1 skip=$n 2>/dev/null | md5sum; n=$((n + 1)); done | sort | uniq`,
    )
    const [one, ...others] = blocks.stdout.trim().split('\n')
    assert.deepEqual(others, [one], 'each block that it wrote is there')
    await assertOnlyParent(expected, 'disk.copy')
    await assertForks(parent, expected)
  })
})
