import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { FileSource } from '../src/checkpoint/file/range-source.ts'
import { Checkpoint } from '../src/checkpoint/file/read.ts'
import { RametApiError, type Snapshot, type Template, type Vm } from '../src/client/index.ts'
import { Host } from './support/host.ts'
import { namesIn } from './support/leaks.ts'
import { assertInOrder } from './support/order.ts'
import { assertInMemory, contentOf, diskDigest, snapshotDir } from './support/snapshot-content.ts'

const MiB = 1024 * 1024

describe('a snapshot', () => {
  let host: Host
  let template: Template
  let vm: Vm

  const run = async (one: Vm, command: string) => (await one.commands.run(command)).stdout.trim()
  const fill = (one: Vm, seekMiB: number, countMiB = 1) =>
    run(
      one,
      `dd if=/dev/urandom of=/tmp/ballast bs=1M count=1 2>/dev/null
       dd if=/dev/urandom of=/dev/vda bs=1M seek=${seekMiB} count=${countMiB} 2>/dev/null; sync`,
    )
  const diskSum = async (one: Vm) => (await run(one, 'md5sum < /dev/vda')).slice(0, 32)
  const code = (expected: string) => (error: unknown) => error instanceof RametApiError && error.code === expected

  /** Fails unless a snapshot has what a vm has now. */
  async function assertHas(snapshot: Snapshot, one: Vm, when: string): Promise<void> {
    assert.equal(await diskDigest(host, snapshot), await diskSum(one), `${when}: disk`)
    await assertInMemory(host, snapshot, await contentOf(one, '/tmp/ballast'), when)
  }

  before(async () => {
    host = await Host.start()
    const parent = await host.boot({ name: 'parent', disks: [{ sizeBytes: 64 * MiB }] })
    await fill(parent, 0, 2)
    template = (await host.ramet.templates.create({ from: 'vm', vm: parent.id, name: 'warm', armed: 0 })).template
    const [child] = await template.forkAll({ names: ['web'] })
    assert.ok(child)
    vm = child
  })
  after(() => host.close())

  it('has memory and disk of its moment, and the vm runs on', async () => {
    await fill(vm, 2)
    const counting = await vm.commands.run(
      'n=0; while [ ! -e /tmp/enough ]; do n=$((n + 1)); echo $n > /tmp/n; sleep 0.02; done',
      {
        background: true,
      },
    )
    const snapshot = await vm.snapshot({ name: 'first', labels: { job: 'test' } })
    const [seen, later] = [await run(vm, 'cat /tmp/n'), await run(vm, 'sleep 0.2; cat /tmp/n')]
    assert.ok(Number(later) > Number(seen), 'its program goes on')
    await run(vm, 'touch /tmp/enough')
    await counting.wait()
    assert.equal((await vm.refresh()).state, 'running')
    await assertHas(snapshot, vm, 'first')
    const { memory, timings, labels } = snapshot.info
    assert.deepEqual([memory?.order, labels], ['virtual', { job: 'test' }])
    assert.ok(timings?.pauseMs !== undefined && timings.storeMs !== undefined)
    // The guest writes on; the snapshot has nothing of it.
    const saved = await diskSum(vm)
    await fill(vm, 3)
    assert.notEqual(await diskSum(vm), saved)
    assert.equal(await diskDigest(host, snapshot), saved)
  })

  it('leaves pages of its template to that, which stays for it', async () => {
    const snapshot = await host.ramet.snapshots.get('first')
    assert.equal(snapshot.info.templateId, template.id)
    assert.ok((snapshot.info.memory?.basePages ?? 0) > 0)
    await using source = await FileSource.open(join(snapshotDir(host, snapshot), 'memory.ckpt'))
    const checkpoint = await Checkpoint.open(source, { digest: snapshot.info.digest ?? '' })
    assert.equal(checkpoint.manifest.counts.base, snapshot.info.memory?.basePages)
    const tree = await host.ramet.tree({ of: snapshot.id })
    assert.deepEqual(
      tree.nodes.map(({ name, relation }) => [name, relation]),
      [
        ['micro:latest', undefined],
        ['warm', 'boot'],
        ['web', 'fork'],
        ['first', 'snapshot'],
      ],
    )
    const [witness] = await template.forkAll({ names: ['witness'] })
    assert.ok(witness)
    await witness.remove()
    await assert.rejects(template.remove(), code('IN_USE'))
  })

  it('of a paused vm leaves it paused, and is refused where its workload would have to be frozen', async () => {
    await fill(vm, 4)
    const expected = await diskSum(vm)
    const ballast = await contentOf(vm, '/tmp/ballast')
    await vm.pause()
    await assert.rejects(vm.snapshot(), code('ILLEGAL_STATE'))
    const snapshot = await vm.snapshot({ name: 'asleep', freeze: false })
    assert.equal((await vm.refresh()).state, 'paused')
    assert.equal(await diskDigest(host, snapshot), expected)
    await assertInMemory(host, snapshot, ballast, 'asleep')
    assert.equal(snapshot.info.timings?.pauseMs, undefined)
    await vm.resume()
    await fill(vm, 5)
    await snapshot.remove()
    await assertInOrder(host, 'removed')
  })

  it('in the background has the moment of the pause, not what was written since', async () => {
    await fill(vm, 6)
    const snapshot = await vm.snapshot({ name: 'streamed', capture: 'background' })
    await assertHas(snapshot, vm, 'streamed')
    assert.ok(snapshot.info.timings?.streamMs !== undefined, 'it was sent while the vm ran')
    assert.equal(snapshot.info.templateId, template.id, 'also then only what the vm has written is stored')
    await snapshot.remove()
  })

  it('of a vm that stands on the lent disk of another has its own delta over the base', async () => {
    await fill(vm, 8, 40)
    const [child] = await vm.forkAll({ names: ['child'] })
    assert.ok(child)
    for (const one of [vm, child]) {
      await fill(one, 50)
      const snapshot = await one.snapshot({ name: `of-${one.name}` })
      await assertHas(snapshot, one, one.name)
      await snapshot.remove()
    }
    await child.remove()
    await host.until('nothing is lent any more', () => namesIn(join(host.dataDir, 'deltas')).length === 0)
  })

  it('that is cancelled at any stage leaves nothing, and the vm runs on', async () => {
    for (const stage of ['quiescing', 'capturing', 'disks', 'scanning', 'storing']) {
      const cancel = new AbortController()
      const making = vm.snapshot({
        name: 'cancelled',
        signal: cancel.signal,
        onProgress: (progress) => progress.stage === stage && cancel.abort(),
      })
      await assert.rejects(making, { name: 'AbortError' }, stage)
      const isOver = async () => (await host.ramet.operations.list({ state: ['running'] })).length === 0
      await host.until(`the operation cancelled at ${stage} is over`, isOver)
      const names = (await host.ramet.snapshots.list()).map(({ name }) => name)
      // One that was over when the cancelling came is kept.
      if (names.includes('cancelled')) await (await host.ramet.snapshots.get('cancelled')).remove()
      await assertInOrder(host, stage)
      assert.equal((await vm.refresh()).state, 'running')
      assert.equal(await run(vm, 'echo alive'), 'alive')
    }
  })

  it('goes by itself when its time is over', async () => {
    const snapshot = await vm.snapshot({ name: 'short-lived', ttlMs: 1000 })
    assert.ok(snapshot.info.expiresAt !== undefined)
    await host.until('it is gone', async () =>
      (await host.ramet.snapshots.list()).every(({ name }) => name !== 'short-lived'),
    )
    const types = host.events.filter(({ resource }) => resource.id === snapshot.id).map(({ type }) => type)
    assert.deepEqual([types[0], types.at(-1)], ['snapshot.created', 'snapshot.removed'])
    assert.ok(types.includes('snapshot.state'))
  })

  it('outlives its vm, and is a command line away', async () => {
    const made = await host.cli(['snapshot', 'create', 'web', '--name', 'last', '--no-agent'])
    assert.equal(made.code, 0, made.stderr)
    assert.match(made.stderr, /web paused .*stored in/)
    await vm.remove({ force: true })
    const listed = await host.cli(['snapshot', 'ls', '-q'])
    assert.equal(listed.stdout, 'first\nlast\n')
    assert.match((await host.cli(['image', 'rm', 'micro'])).stderr, /used by .*first/)
    assert.equal((await host.cli(['snapshot', 'rm', 'first', 'last'])).code, 0)
    await template.remove()
    await assertInOrder(host, 'at the end')
  })
})
