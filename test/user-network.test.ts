import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { chmod, chown, mkdtemp, rm } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { inNetworkGroup } from '../src/host/network-group.ts'
import { isRunning, type ProcessIdentity, waitForExit } from '../src/host/process-identity.ts'
import { spawnDetached } from '../src/host/spawn-detached.ts'
import { defaultUidRange } from '../src/host/uids.ts'
import { startUserNetwork, userNetworksOf } from '../src/qemu/user-network.ts'
import { isRoot } from './support/environment.ts'
import { synFrame, udp6LoopbackFrame, udpFrame } from './support/frames.ts'
import { hostAddress, linkLocalAddress, Outside, outsideAddress } from './support/outside.ts'

const uid = defaultUidRange.first + defaultUidRange.count - 2
const guest = '10.77.0.2'
const gateway = '10.77.0.1'

/** Where no guest may get, by whatever frame. */
const forbidden = [
  ...['127.0.0.1', '127.0.0.53', '127.255.255.254', '0.0.0.0', '0.0.0.1'],
  ...[hostAddress, gateway, guest, linkLocalAddress, '169.254.169.254'],
  ...['224.0.0.1', '224.0.0.251', '239.255.255.250', '255.255.255.255', '240.0.0.1'],
]

describe('passt under its packet filter, against a hostile network card', {
  skip: isRoot ? false : 'needs root',
}, () => {
  let outside: Outside
  let dir: string
  let passt: ProcessIdentity
  let card: Socket

  before(async () => {
    outside = await Outside.open()
    dir = await mkdtemp(join(tmpdir(), 'ramet-net-'))
    await chown(dir, uid, uid)
    await chmod(dir, 0o700)
    const started = await startUserNetwork({
      dir,
      socketName: 'nic0.sock',
      address: `${guest}/16`,
      gateway,
      spawn: spawnDetached,
      user: { uid, gid: uid },
    })
    passt = started.identity
    card = connect(join(dir, 'nic0.sock'))
    card.on('error', () => {})
    card.resume()
    await new Promise<void>((resolve) => card.once('connect', resolve))
  })
  after(async () => {
    card.destroy()
    await outside.close()
    await rm(dir, { recursive: true, force: true })
  })

  const send = (frame: Buffer) => {
    const length = Buffer.alloc(4)
    length.writeUInt32BE(frame.length)
    card.write(Buffer.concat([length, frame]))
  }

  it('runs in the filtered group and is found by the directory it serves', () => {
    assert.ok(inNetworkGroup(passt.pid))
    assert.deepEqual(
      userNetworksOf(dir).map(({ pid }) => pid),
      [passt.pid],
    )
  })

  it('carries what goes outside, and nothing to the host, to link-local or to many', async () => {
    const { port } = outside
    let sourcePort = 30_000
    for (const address of forbidden) {
      send(synFrame(guest, sourcePort++, { address, port }))
      send(udpFrame(guest, sourcePort++, { address, port }, `to ${address}`))
      // A source that lies, too.
      send(udpFrame('127.0.0.1', sourcePort++, { address, port }, `to ${address}`))
    }
    send(udp6LoopbackFrame(sourcePort++, port))
    // What goes through comes last: by then everything before it has arrived, if it ever does.
    send(synFrame(guest, sourcePort++, { address: outsideAddress, port }))
    send(udpFrame(guest, sourcePort++, { address: outsideAddress, port }, 'allowed'))
    const signal = AbortSignal.timeout(20_000)
    await outside.visited((visit) => visit === 'udp allowed', signal)
    await outside.visited((visit) => visit === `tcp ${outsideAddress}`, signal)
    assert.deepEqual(outside.intrusions, [], 'nobody came to the host')
    assert.deepEqual([...outside.visits].sort(), [`tcp ${outsideAddress}`, 'udp allowed'])
  })

  it('ends with its only client', async () => {
    card.destroy()
    await waitForExit(passt, AbortSignal.timeout(10_000))
    assert.equal(isRunning(passt), false)
    assert.deepEqual(userNetworksOf(dir), [])
    assert.ok(existsSync(dir))
  })
})
