import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { after, before, describe, it } from 'node:test'
import type { Vm } from '../src/client/index.ts'
import { Host, withHost } from './support/host.ts'

const idle = { pauseAfterSeconds: 1 }

describe('a vm that pauses when nobody calls it', () => {
  let host: Host
  let vm: Vm

  before(async () => {
    host = await Host.start()
    vm = await host.boot({ name: 'web', idle, ports: [{ guestPort: 7000 }] })
    const counter = await vm.commands.run(
      'n=0; mkfifo /tmp/ask /tmp/answer; while read word </tmp/ask; do n=$((n+1)); echo $n >/tmp/answer; done',
      { background: true },
    )
    await counter.disconnect()
  })
  after(() => host.close())

  const count = async () => (await vm.commands.run('echo x >/tmp/ask; cat /tmp/answer')).stdout.trim()
  const asleep = () => host.untilState(vm, 'paused')

  /** How often it has paused and resumed, by the operations that did so. */
  async function operations(kind: 'vm.pause' | 'vm.resume'): Promise<number> {
    const all = await host.ramet.operations.list({ kind: [kind] })
    return all.filter(({ state }) => state === 'succeeded').length
  }

  it('pauses by itself, says why, and goes on for the next command as if nothing had happened', async () => {
    await asleep()
    assert.equal(vm.info.idlePaused, true)
    assert.equal(vm.info.stateReason, 'paused by itself after 1 s without a call; the next call resumes it')
    const before = await operations('vm.resume')
    assert.equal(await count(), '1')
    assert.equal(await operations('vm.resume'), before + 1)
    const guestSeconds = Number((await vm.commands.run('date +%s')).stdout)
    assert.ok(Math.abs(guestSeconds - Date.now() / 1000) < 2)
  })

  it('is resumed once by calls that come together', async () => {
    await asleep()
    const before = await operations('vm.resume')
    const outputs = await Promise.all([1, 2, 3, 4].map((n) => vm.commands.run(`echo ${n}`)))
    assert.deepEqual(
      outputs.map(({ stdout }) => stdout.trim()),
      ['1', '2', '3', '4'],
    )
    assert.equal(await operations('vm.resume'), before + 1)
  })

  it('is resumed by files, by a fork, and by the command line', async () => {
    await asleep()
    await vm.files.write('/tmp/note', 'awake')
    await asleep()
    assert.equal(await vm.files.read('/tmp/note'), 'awake')
    await asleep()
    const [child] = await vm.forkAll({ count: 1 })
    assert.ok(child)
    assert.equal(child.info.idle, undefined)
    assert.equal(await child.files.read('/tmp/note'), 'awake')
    await child.remove()
    await asleep()
    const { stdout, code } = await host.cli(['exec', 'web', 'cat', '/tmp/note'])
    assert.deepEqual([stdout, code], ['awake', 0])
  })

  it('is resumed by a connection to a published port, and runs for as long as that lasts', async () => {
    const server = await vm.commands.run('nc -ll -p 7000 -e cat', { background: true })
    await server.disconnect()
    await asleep()
    const [address, port] = (await vm.getHost(7000)).split(':')
    const socket = connect({ host: address, port: Number(port) })
    socket.write('hello')
    const [first] = await new Promise<Buffer[]>((resolve) => socket.once('data', (data) => resolve([data])))
    assert.equal(String(first), 'hello')
    socket.end()
    await text(socket)
    await asleep()
  })

  it('does not pause while a command is attached, nor while a detached one computes', async () => {
    const pauses = await operations('vm.pause')
    const { stdout } = await vm.commands.run('sleep 3; echo done')
    assert.equal(stdout.trim(), 'done')
    assert.equal(await operations('vm.pause'), pauses)
    const script = 'end=$(($(date +%s)+6)); while [ $(date +%s) -lt $end ]; do :; done; date +%s >/tmp/end'
    const busy = await vm.commands.run(script, { background: true })
    await busy.disconnect()
    await asleep()
    assert.equal(await operations('vm.pause'), pauses + 1)
    assert.match(await vm.files.read('/tmp/end'), /^\d+$/m, 'it had come to its end before')
  })

  it('stays paused when somebody pauses it, and runs on when it is told to', async () => {
    await asleep()
    await vm.pause()
    assert.equal(vm.info.idlePaused, undefined)
    await assert.rejects(vm.commands.run('true'), { code: 'ILLEGAL_STATE' })
    await vm.resume()
    const { code, stderr } = await host.cli(['update', 'web', '--idle-pause', 'none'])
    assert.equal(code, 0, stderr)
    await vm.refresh()
    assert.deepEqual([vm.state, vm.info.idle], ['running', undefined])
    await host.cli(['update', 'web', '--idle-pause', '1s'])
    await asleep()
  })

  it('is still asleep for the next daemon, which resumes it for a call', async () => {
    await asleep()
    await host.kill9()
    await host.restart()
    await vm.refresh()
    assert.deepEqual([vm.state, vm.info.idlePaused], ['paused', true])
    assert.equal(await vm.files.read('/tmp/note'), 'awake')
    assert.equal(await count(), '2')
    await asleep()
  })
})

describe('a daemon that dies while it pauses a vm', () => {
  it('leaves one that is paused, and that the next daemon resumes for a call', async () => {
    await withHost({ fault: 'idle.paused=kill' }, async (host) => {
      const vm = await host.boot({ name: 'web' })
      await vm.commands.run('echo kept > /tmp/note')
      await vm.update({ idle })
      await host.daemon.ended
      await host.restart()
      assert.equal((await vm.refresh()).idlePaused, true)
      assert.equal((await vm.files.read('/tmp/note')).trim(), 'kept')
      await host.untilState(vm, 'paused')
    })
  })
})
