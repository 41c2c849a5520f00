import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { Vm } from '../src/client/index.ts'
import { Conversation } from './support/conversation.ts'
import { isRoot } from './support/environment.ts'
import { Host } from './support/host.ts'
import { Outside, outsideAddress } from './support/outside.ts'

const forkCount = 10
const echoPort = 7

/** A command that is told by its input and answers by its output. */
function throughExec(vm: Vm, name: string, command: string, greeting = ''): Promise<Conversation> {
  return Conversation.begin(name, async (hear) => {
    const handle = await vm.commands.run(command, {
      background: true,
      stdin: true,
      captureBytes: 0,
      onStdoutBytes: hear,
    })
    if (greeting !== '') await handle.sendStdin(greeting)
    // A status other than 0 is an error, whoever ended it.
    return { send: (data) => handle.sendStdin(data), close: () => handle.closeStdin(), ended: handle.wait() }
  })
}

/** A terminal that changes nothing of what it is told. */
function throughTerminal(vm: Vm): Promise<Conversation> {
  return Conversation.begin('terminal', async (hear) => {
    const ready = Promise.withResolvers<void>()
    let isReady = false
    const terminal = await vm.pty.create({
      command: 'stty raw -echo; printf ready; exec cat',
      onData: (data) => {
        if (isReady) return hear(data)
        assert.equal(Buffer.from(data).toString(), 'ready')
        isReady = true
        ready.resolve()
      },
    })
    await ready.promise
    const ended = terminal.wait({ throwOnFailure: false })
    return { send: (data) => terminal.sendStdin(data), close: () => terminal.kill(), ended }
  })
}

/** A connection from the host to a port of the guest. */
async function throughPublishedPort(vm: Vm): Promise<Conversation> {
  await vm.commands.run(`nc -ll -p ${echoPort} -e cat`, { background: true })
  await vm.commands.run(`until netstat -ltn | grep -q ':${echoPort} '; do sleep 0.1; done`)
  const { hostAddress, hostPort } = await vm.publish({ guestPort: echoPort })
  return Conversation.begin('published port', async (hear) => {
    const socket = connect(hostPort, hostAddress)
    const ended = new Promise<void>((resolve, reject) => socket.once('error', reject).once('close', () => resolve()))
    socket.on('data', hear)
    return { send: (data) => socket.write(data), close: () => socket.end(), ended }
  })
}

describe('what is open in a running vm', {
  skip: isRoot ? false : 'the network `user` needs root',
  timeout: 300_000,
}, () => {
  let host: Host
  let outside: Outside

  before(async () => {
    outside = await Outside.open()
    host = await Host.start()
  })
  after(async () => {
    await host.close()
    await outside.close()
  })

  it('stays open over ten forks of it, and no byte is lost while they are made', async (t) => {
    const vm = await host.boot({
      name: 'talker',
      nics: [{ network: 'user' }],
      disks: [{ sizeBytes: 16 * 1024 * 1024 }],
    })
    const outward = `nc ${outsideAddress} ${outside.port}`
    const conversations = [
      await throughExec(vm, 'exec', 'cat'),
      await throughExec(vm, 'connection to outside', outward, 'echo\n'),
      await throughTerminal(vm),
      await throughPublishedPort(vm),
    ]
    const allGoOn = () => Promise.all(conversations.map((conversation) => conversation.goesOn()))
    await allGoOn()
    for (let round = 0; round < forkCount; round += 1) {
      const [child] = await vm.fork({ names: [`round-${round}`] })
      // By its own cause: a fork of all or none tells only that it failed.
      if (!(child instanceof Vm)) throw child
      await allGoOn()
      await child.remove({ force: true })
    }
    await allGoOn()
    for (const conversation of conversations) {
      await conversation.end()
      t.diagnostic(`${conversation.name}: ${conversation.heardBytes} bytes`)
    }
    assert.equal(outside.visits.filter((visit) => visit === `tcp ${outsideAddress}`).length, 1, 'it connected once')
  })
})
