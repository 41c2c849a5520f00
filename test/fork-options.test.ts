import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { RametApiError, Vm } from '../src/client/index.ts'
import { Host } from './support/host.ts'

let host: Host
let parent: Vm

/** Counts in a file, and tells the serial console its number, the carrier of the interface, and whether the agent is frozen. */
const workload = `n=0; agent=/sys/fs/cgroup/ramet/agent; while :; do n=$((n+1)); echo $n > /tmp/n
  echo "tick $n carrier $(cat /sys/class/net/eth0/carrier) $(grep frozen $agent/cgroup.events)" > /dev/ttyS0
  usleep 200000; done`

/** Stops the agent for good, from inside: its process, the first of the guest, is in a control group of its own. */
const silence = 'echo 1 > /sys/fs/cgroup/ramet/agent/cgroup.freeze'

const number = async (vm: Vm) => Number((await vm.commands.run('cat /tmp/n')).stdout)

/** The child of a fork of one. */
function only(children: readonly unknown[]): Vm {
  const [child] = children
  if (!(child instanceof Vm)) throw child
  return child
}

/** Resolves when the console of a vm says it. */
async function untilConsole(vm: Vm, pattern: RegExp): Promise<void> {
  const signal = AbortSignal.timeout(30_000)
  let text = ''
  for await (const bytes of await vm.logs({ follow: true, tail: 0, signal })) {
    text = (text + Buffer.from(bytes).toString()).slice(-4096)
    if (pattern.test(text)) return
  }
  assert.fail(`the console of ${vm.name} ended without ${pattern}:\n${text}`)
}

const refusal = (code: string, remedy: RegExp) => (error: unknown) => {
  assert.ok(error instanceof RametApiError, String(error))
  assert.equal(error.code, code, error.message)
  assert.match(error.remediation, remedy)
  return true
}

before(async () => {
  host = await Host.start()
  parent = await host.boot({ name: 'parent', disks: [{ sizeBytes: 16 * 1024 * 1024 }] })
  await parent.commands.run(workload, { background: true })
  await parent.commands.run('echo first | dd of=/dev/vda bs=4096 seek=7 conv=sync 2>/dev/null; sync')
})

after(() => host.close())

/** A fork during which the daemon is killed; the next one has taken over. */
async function forkCut(point: string, options: Parameters<Vm['fork']>[0]): Promise<void> {
  await host.restart(`${point}=kill`)
  const fork = parent.fork(options).catch((error: unknown) => error)
  assert.deepEqual(await host.daemon.ended, { code: null, signal: 'SIGKILL' }, `the fault at ${point} was reached`)
  await host.restart()
  await fork
  for (const vm of await host.ramet.vms.list()) if (vm.name === 'cut') await vm.remove()
}

test('people are told what a fork cost the parent, and what stands on what', async () => {
  const forked = await host.cli(['fork', 'parent', '--name', 'told'])
  assert.equal(forked.code, 0, forked.stderr)
  assert.match(forked.stdout, /^told +running/m)
  assert.match(forked.stderr, /^parent paused \d.*, workload frozen \d/m)
  const { layers, frozenAtFork, identity } = JSON.parse((await host.cli(['inspect', 'told'])).stdout)
  assert.deepEqual([frozenAtFork, identity], [true, 'own'])
  const shown = (list: { role: string; owner: { kind: string } }[]) => list.map(({ role, owner }) => [role, owner.kind])
  // A vm that was booted has no base under its memory, so one was folded; it belongs to no vm.
  assert.deepEqual(shown(layers.memory), [
    ['delta', 'vm'],
    ['base', 'catalogue'],
  ])
  assert.ok(layers.memory.every(({ allocatedBytes }: { allocatedBytes: number }) => allocatedBytes > 0))
  assert.deepEqual(shown(layers.disks[0].layers), [['delta', 'vm']])
  const tree = (await host.cli(['tree', 'told'])).stdout
  assert.match(tree, /└─ told {2}\(running, generation 2, depth 1; memory .* own, .* shared; disk .* own, .* shared\)/)
  await (await host.ramet.vms.get('told')).remove()
})

test('a parent that stays paused stands at the moment of its children, whatever happens to the daemon', async () => {
  const report = await parent.forkReport({ pauseParent: true, names: ['first'] })
  const first = only(report.children)
  assert.equal((await parent.refresh()).state, 'paused')
  assert.deepEqual([report.timings.pauseMs, report.timings.freezeMs], [undefined, undefined], 'it has not ended')
  assert.equal(report.warnings, undefined)
  assert.equal((await parent.stats()).disk.chainDepth, 1, 'its disk is merged while it stands')
  assert.equal((await first.commands.run('hostname')).stdout, 'first\n')
  await forkCut('disk-point.merging', { names: ['cut'] })
  assert.equal((await parent.refresh()).state, 'paused')
  assert.equal((await parent.stats()).disk.chainDepth, 1)
  // It can be forked again from that very point: its workload is frozen in it.
  const second = only((await parent.forkReport({ names: ['second'] })).children)
  assert.equal(second.info.frozenAtFork, true)
  assert.equal(
    (await second.commands.run('hostname; dd if=/dev/vda bs=4096 skip=7 count=1 2>/dev/null | head -1')).stdout,
    'second\nfirst\n',
  )
  assert.equal((await parent.refresh()).state, 'paused')
  await assert.rejects(parent.fork({ agent: false }), refusal('ILLEGAL_STATE', /Leave out --no-agent/))
  await parent.resume()
  const before = await number(parent)
  await untilConsole(parent, /tick \d+ carrier 1/)
  assert.ok((await number(parent)) > before, 'its workload goes on')
  await Promise.all([first, second].map((vm) => vm.remove()))
})

test('a parent that was to stay paused runs on when the daemon dies before it is captured', async () => {
  await forkCut('live.paused', { names: ['cut'], pauseParent: true })
  assert.equal((await parent.refresh()).state, 'running')
  await untilConsole(parent, /tick \d+/)
})

test('a paused vm is forked as it stands with --no-freeze only, and the child is marked', async () => {
  await parent.pause()
  await forkCut('live.captured', { names: ['cut'], freeze: false })
  assert.equal((await parent.refresh()).state, 'paused')
  await assert.rejects(parent.fork(), refusal('ILLEGAL_STATE', /ramet resume parent.*--no-freeze/))
  const { children, warnings } = await parent.forkReport({ freeze: false, names: ['loose'] })
  const child = only(children)
  assert.equal((await parent.refresh()).state, 'paused')
  assert.deepEqual([child.info.frozenAtFork, child.info.identity], [false, 'own'])
  assert.match(warnings?.join() ?? '', /in the name of their parent/)
  assert.equal((await child.commands.run('hostname')).stdout, 'loose\n')
  assert.match((await host.cli(['ls'])).stdout, /^loose .*not frozen at fork$/m)
  await parent.resume()
  await child.remove()
})

test('--no-freeze spares a running vm the freeze', async () => {
  const { children, timings } = await parent.forkReport({ freeze: false, names: ['loose'] })
  const child = only(children)
  assert.equal(timings.freezeMs, undefined)
  assert.ok((timings.pauseMs ?? 0) > 0)
  assert.equal(child.info.frozenAtFork, false)
  assert.equal((await child.commands.run('hostname')).stdout, 'loose\n')
  await child.remove()
})

test('of an atomic fork that cannot be whole nothing is left, and the parent runs on', async () => {
  const files = [{ path: '/proc/no/such/place', contentBase64: '' }]
  await assert.rejects(
    parent.forkAll({ count: 2, namePrefix: 'all', files, pauseParent: true }),
    (error: unknown) => error instanceof RametApiError && error.code === 'FORK_INCOMPLETE',
  )
  assert.deepEqual(
    (await host.ramet.vms.list()).map(({ name, state }) => [name, state]),
    [['parent', 'running']],
  )
  const before = await number(parent)
  await untilConsole(parent, /tick \d+ carrier 1/)
  assert.ok((await number(parent)) > before)
})

test('a child goes by itself when its time is over', async () => {
  const child = only(await parent.fork({ names: ['brief'], ttlMs: 1_000 }))
  assert.ok(child.info.expiresAt !== undefined)
  await host.untilGone('brief')
})

test('more children than a call may make are refused by the limit', async () => {
  await assert.rejects(parent.fork({ count: 101 }), (error: unknown) => {
    assert.ok(error instanceof RametApiError)
    assert.match(JSON.stringify(error.problem), /100/)
    return error.code === 'INVALID_ARGUMENT'
  })
  const { code, stderr } = await host.cli(['fork', 'parent', '--count', '101'])
  assert.equal(code, 2)
  assert.match(stderr, /100/)
})

test('a vm whose agent is silent is forked without it only, and its child is nobody until it boots', async () => {
  // Whether this very request is still answered is a matter of luck, and it must not be asked for again for ever.
  const request = new AbortController()
  parent.commands.run(silence, { background: true, signal: request.signal }).catch(() => {})
  await untilConsole(parent, /frozen 1/)
  request.abort()
  await assert.rejects(parent.fork({ names: ['no'] }), refusal('GUEST_UNREACHABLE', /ramet fork parent --no-agent/))
  assert.equal((await parent.refresh()).state, 'running')
  await untilConsole(parent, /tick \d+ carrier 1 frozen 1/)
  const { children, warnings } = await parent.forkReport({ agent: false, names: ['nobody'] })
  const child = only(children)
  assert.match(warnings?.join() ?? '', /no identity of their own/)
  assert.deepEqual([child.state, child.info.identity, child.info.link], ['running', 'none', 'down'])
  // Its workload runs, without a network: the parent has the same address.
  await untilConsole(child, /tick \d+ carrier 0/)
  const unreachable = refusal('GUEST_UNREACHABLE', /ramet stop --force nobody/)
  await assert.rejects(child.commands.run('true'), unreachable)
  await assert.rejects(child.update({ link: 'up' }), unreachable)
  await assert.rejects(child.stop(), unreachable)
  await assert.rejects(child.fork(), refusal('GUEST_UNREACHABLE', /ramet fork nobody --no-agent/))
  await child.pause()
  const grandchild = only(await child.fork({ agent: false, names: ['nobody-two'] }))
  await child.resume()
  await host.kill9()
  await host.restart()
  assert.equal((await child.refresh()).state, 'running')
  await assert.rejects(child.commands.run('true'), unreachable)
  await grandchild.remove()
  await child.stop({ force: true })
  await child.start()
  assert.equal((await child.commands.run('hostname')).stdout, 'nobody\n')
  assert.deepEqual([child.info.identity, child.info.link], ['own', 'up'])
})
