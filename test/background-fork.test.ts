import assert from 'node:assert/strict'
import process from 'node:process'
import { after, before, describe, it } from 'node:test'
import { ForkError, type ForkOptions, type ForkReport, type Vm } from '../src/client/index.ts'
import { withoutUserfaultfd as skip } from '../src/qemu/testing/userfaultfd.ts'
import { Host, withHost } from './support/host.ts'
import { buildSums } from './support/sums.ts'

/** A fork of which all children were made, with what the daemon tells of it. */
async function fork(vm: Vm, options: ForkOptions): Promise<{ children: Vm[]; report: ForkReport }> {
  const report = await vm.forkReport(options)
  const children = report.children.map((child) => {
    if (child instanceof ForkError) throw child
    return child
  })
  return { children, report }
}

const sums = await buildSums()
const ballastSum = (vm: Vm) => sums(vm, '/tmp/ballast')
const fillBallast = (vm: Vm, megabytes = 8) =>
  vm.commands.run(`dd if=/dev/urandom of=/tmp/ballast bs=1M count=${megabytes} 2>/dev/null; sync`)

/** Two files that a program makes longer in turn: at no moment is one more than a line ahead. */
const pacer =
  'echo $$ > /tmp/pacer; n=0; while :; do n=$((n+1)); echo $n >> /tmp/left; echo $n >> /tmp/right; sleep 0.02; done'

describe('a fork in the background', { skip }, () => {
  let host: Host
  let parent: Vm

  before(async () => {
    host = await Host.start()
    parent = await host.boot({ name: 'parent', disks: [{ sizeBytes: 16 * 1024 * 1024 }] })
    await parent.commands.run(pacer, { background: true, execId: 'pacer' })
  })
  after(() => host.close())

  it('gives children the memory of the moment of the pause, though the parent writes over it while it is read', async () => {
    await fillBallast(parent)
    await parent.commands.run('echo before | dd of=/dev/vda bs=4096 conv=sync 2>/dev/null; sync')
    const expected = await ballastSum(parent)
    let overwritten: Promise<unknown> | undefined
    const { children, report } = await fork(parent, {
      count: 2,
      namePrefix: 'moment',
      capture: 'background',
      onProgress: ({ stage }) => {
        if (stage === 'streaming') overwritten ??= fillBallast(parent)
      },
    })
    assert.ok(overwritten, 'the parent ran while its memory was read')
    await overwritten
    assert.notEqual(await ballastSum(parent), expected)
    for (const child of children) {
      assert.equal(await ballastSum(child), expected)
      assert.equal((await child.commands.run('head -c 6 /dev/vda')).stdout, 'before')
      const { stdout } = await child.commands.run('kill $(cat /tmp/pacer); wc -l < /tmp/left; wc -l < /tmp/right')
      const [left = 0, right = -9] = stdout.trim().split('\n').map(Number)
      assert.ok(left - right === 0 || left - right === 1, `one file has ${left} lines, the other ${right}`)
    }
    assert.equal(report.capture?.way, 'background')
    assert.equal(report.capture?.memory, 'folded')
    assert.ok((report.timings.streamMs ?? 0) > 0 && (report.timings.pauseMemoryMs ?? 0) > 0)
    for (const child of children) await child.remove({ force: true })
  })

  it('over a base: a small delta is loaded by each child, a large one folded', async () => {
    const [child] = (await fork(parent, { names: ['based'], capture: 'copy' })).children
    assert.ok(child)
    await child.commands.run('kill $(cat /tmp/pacer)')
    for (const [memory, megabytes] of [
      ['delta', 2],
      ['folded', 96],
    ] as const) {
      await fillBallast(child, megabytes)
      const expected = await ballastSum(child)
      const { children, report } = await fork(child, { names: [`on-${memory}`], capture: 'background' })
      assert.equal(report.capture?.memory, memory)
      const [grandchild] = children
      assert.ok(grandchild)
      assert.equal(await ballastSum(grandchild), expected)
      await grandchild.remove({ force: true })
    }
    await child.remove({ force: true })
  })

  it('can be followed by any other: background, copy, background, and a template', async () => {
    const vm = await host.boot({ name: 'often' })
    await fillBallast(vm)
    const expected = await ballastSum(vm)
    for (const [round, capture] of (['background', 'background', 'copy', 'background'] as const).entries()) {
      const { children } = await fork(vm, { names: [`often-${round}`], capture })
      for (const child of children) {
        assert.equal(await ballastSum(child), expected, `${capture} in round ${round}`)
        await child.remove({ force: true })
      }
    }
    const { template } = await host.ramet.templates.create({ from: 'vm', vm: vm.id, name: 'after' })
    const [child] = await template.forkAll({ names: ['of-template'] })
    assert.ok(child)
    assert.equal(await ballastSum(child), expected)
    await child.remove({ force: true })
  })

  it('that is cancelled while the memory is read leaves the vm as it was, and another one works', async () => {
    await fillBallast(parent)
    const expected = await ballastSum(parent)
    const cancel = new AbortController()
    const options = { names: ['never'], capture: 'background' as const, signal: cancel.signal }
    const cancelled = parent.fork({ ...options, onProgress: ({ stage }) => stage === 'streaming' && cancel.abort() })
    await assert.rejects(cancelled, { name: 'AbortError' })
    await host.untilState(parent, 'running')
    const { children } = await fork(parent, { names: ['later'], capture: 'background' })
    assert.deepEqual((await host.ramet.vms.list()).map(({ name }) => name).sort(), ['later', 'parent'])
    for (const child of children) {
      assert.equal(await ballastSum(child), expected)
      await child.remove({ force: true })
    }
  })

  it('is refused when no way keeps to the goal, before the vm stands', async () => {
    const refused = parent.fork({ count: 1, maxPauseMs: 1 })
    await assert.rejects(refused, (error: { code?: string; details?: { copyPauseMs?: number } }) => {
      assert.equal(error.code, 'PAUSE_TOO_LONG')
      return true
    })
    assert.equal((await parent.refresh()).state, 'running')
  })
})

describe('a fork in the background that comes to grief', { skip }, () => {
  it('for want of memory leaves the vm running, its data exact', async () => {
    await withHost({}, async (host) => {
      const parent = await host.boot({ name: 'parent', disks: [{ sizeBytes: 16 * 1024 * 1024 }] })
      for (const point of ['background.prepared', 'background.paused', 'background.streaming', 'background.streamed']) {
        await host.restart(`${point}=ENOSPC`)
        await fillBallast(parent)
        const expected = await ballastSum(parent)
        const failed = parent.fork({ names: ['never'], capture: 'background' })
        await assert.rejects(failed, { code: 'NO_SPACE' }, point)
        assert.equal((await parent.refresh()).state, 'running')
        assert.equal(await ballastSum(parent), expected)
        const { children } = await fork(parent, { names: ['works'], capture: 'background' })
        for (const child of children) await child.remove({ force: true })
      }
    })
  })

  it('with the end of the vm’s QEMU fails, and nothing is left', async () => {
    await withHost({}, async (host) => {
      const parent = await host.boot({ name: 'parent' })
      const { pid } = await parent.refresh()
      assert.ok(pid)
      const failed = parent.fork({
        names: ['never'],
        capture: 'background',
        onProgress: ({ stage }) => stage === 'streaming' && process.kill(pid, 'SIGKILL'),
      })
      await assert.rejects(failed)
      await host.untilState(parent, 'failed')
      assert.deepEqual(
        (await host.ramet.vms.list()).map(({ name }) => name),
        ['parent'],
      )
    })
  })
})
