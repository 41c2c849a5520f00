import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { after, before, describe, it } from 'node:test'
import type { Vm } from '../src/client/index.ts'
import { Host, withHost } from './support/host.ts'

const MiB = 1024 * 1024

/** Starts something that answers with what it was sent, and leaves it to itself. */
async function startEcho(vm: Vm): Promise<void> {
  const server = await vm.commands.run('nc -ll -p 7000 -e cat', { background: true })
  await server.disconnect()
}

/** What comes back of a line sent to a published port. */
async function echo(vm: Vm, line: string): Promise<string> {
  const [address, port] = (await vm.getHost(7000)).split(':')
  const socket = connect({ host: address ?? '', port: Number(port) })
  const answer = text(socket)
  socket.end(line)
  return await answer
}

describe('a vm that pauses to disk when nobody calls it', () => {
  let host: Host
  let vm: Vm

  before(async () => {
    host = await Host.start()
    const idle = { pauseAfterSeconds: 1, toDiskAfterSeconds: 2 }
    vm = await host.boot({ name: 'web', memoryBytes: 128 * MiB, idle, ports: [{ guestPort: 7000 }] })
    await vm.commands.run('echo kept > /tmp/note')
    await startEcho(vm)
  })
  after(() => host.close())

  const asleep = () => host.untilState(vm, 'suspended')

  it('pauses in memory first, goes to disk later, and comes back for a command', async () => {
    const { pid = 0 } = await vm.refresh()
    await asleep()
    const states = host.events.filter(({ type, resource }) => type === 'vm.state' && resource.id === vm.id)
    assert.deepEqual(
      states.map(({ data }) => data.state).filter((state) => state === 'paused' || state === 'suspended'),
      ['paused', 'suspended'],
    )
    assert.equal(vm.info.stateReason, 'paused to disk by itself after 2 s without a call; the next call resumes it')
    await host.until('its QEMU has ended', () => !existsSync(`/proc/${pid}`))
    const [one, two] = await Promise.all([vm.commands.run('cat /tmp/note'), vm.files.read('/tmp/note')])
    assert.deepEqual([one.stdout, two], ['kept\n', 'kept\n'])
    await vm.refresh()
    assert.equal(vm.info.idlePaused, undefined)
  })

  it('comes back for a connection to its published port, which has stayed the same', async () => {
    const before = await vm.getHost(7000)
    await asleep()
    assert.equal(await echo(vm, 'hello'), 'hello')
    assert.equal(await vm.getHost(7000), before)
  })

  it('comes back for a connection to the next daemon, too', async () => {
    await asleep()
    await host.kill9()
    await host.restart()
    await vm.refresh()
    assert.deepEqual([vm.state, vm.info.idlePaused], ['suspended', true])
    assert.equal(await echo(vm, 'again'), 'again')
  })

  it('stays on disk when somebody pauses it, and is refused to who calls', async () => {
    await asleep()
    await vm.pause()
    assert.deepEqual([vm.state, vm.info.idlePaused], ['suspended', undefined])
    await assert.rejects(vm.commands.run('true'), { code: 'ILLEGAL_STATE' })
    await vm.resume()
  })

  it('comes back to be stopped as asked, and gives its port back', async () => {
    await asleep()
    await vm.stop()
    assert.equal(vm.state, 'stopped')
    await assert.rejects(echo(vm, 'nobody'), { code: 'ECONNREFUSED' })
  })
})

describe('a call that comes while a vm goes to disk', () => {
  it('is answered, by a vm that has given way if it still could', async () => {
    await withHost({ fault: 'suspend.captured=stop' }, async (host) => {
      const vm = await host.boot({ name: 'web', memoryBytes: 128 * MiB })
      await vm.commands.run('echo kept > /tmp/note')
      await vm.update({ idle: { toDiskAfterSeconds: 1 } })
      let call: Promise<string> | undefined
      await host.daemon.whileStoppedAt('suspend.captured', 60_000, () => {
        call = vm.files.read('/tmp/note')
      })
      assert.equal(await call, 'kept\n')
      const [pause] = await host.ramet.operations.list({ kind: ['vm.pause'] })
      assert.ok(pause?.state === 'cancelled' || pause?.state === 'succeeded', pause?.state)
      await host.untilState(vm, 'suspended')
      assert.equal(await vm.files.read('/tmp/note'), 'kept\n')
    })
  })
})
