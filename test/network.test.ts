import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { promisify } from 'node:util'
import type { Vm } from '../src/client/index.ts'
import { inNetworkGroup, networkGroupName } from '../src/host/network-group.ts'
import { identify, isRunning, waitForExit } from '../src/host/process-identity.ts'
import { userNetworksOf } from '../src/qemu/user-network.ts'
import { repositoryRoot } from '../tools/rules/source.ts'
import { isRoot } from './support/environment.ts'
import { synFrame, udp6LoopbackFrame, udpFrame } from './support/frames.ts'
import { Host } from './support/host.ts'
import { hostAddress, linkLocalAddress, Outside, outsideAddress } from './support/outside.ts'

const run = promisify(execFile)
const gateway = '10.77.0.1'
const patience = () => AbortSignal.timeout(60_000)

describe('the networks of a guest', {
  skip: isRoot ? false : 'the network `user` needs root',
  timeout: 300_000,
}, () => {
  let host: Host
  let outside: Outside
  let workshop: string
  /** sends raw frames, in a guest */
  let tool: Buffer

  before(async () => {
    workshop = await mkdtemp(join(tmpdir(), 'ramet-frames-'))
    const program = join(workshop, 'raw-frame')
    await run('musl-gcc', ['-static', '-O2', '-o', program, join(repositoryRoot, 'test/support/raw-frame.c')])
    tool = await readFile(program)
    outside = await Outside.open()
    host = await Host.start()
  })
  after(async () => {
    await host.close()
    await outside.close()
    await rm(workshop, { recursive: true, force: true })
    assert.equal(groupExists(), false, 'the control group ends with its last user')
  })

  const networksOf = (vm: Vm) => userNetworksOf(join(host.dataDir, 'vms', vm.id))

  /** Connects from inside the guest by its own tools, to all at once: which of them greet. */
  const greeting = async (vm: Vm, ...addresses: readonly string[]) => {
    const one = `(echo; sleep 1) | timeout 4 nc $address ${outside.port} | grep hello | sed "s/^/$address: /"`
    const { stdout } = await vm.commands.run(`for address in ${addresses.join(' ')}; do { ${one}; } & done; wait`)
    return stdout.trim().split('\n').filter(Boolean)
  }
  const outsideGreets = [`${outsideAddress}: hello`]

  /** Sends each frame out of the guest's first interface as it is. */
  const sendRaw = async (vm: Vm, frames: readonly Buffer[]) => {
    await vm.files.write('/tmp/raw-frame', tool, { mode: 0o755 })
    await vm.commands.run(`/tmp/raw-frame eth0 ${frames.map((frame) => frame.toString('hex')).join(' ')}`)
  }

  const addressOf = async (vm: Vm) =>
    /inet (10\.77\.\d+\.\d+)/.exec((await vm.commands.run('ip -4 address show dev eth0')).stdout)?.[1] ?? ''

  /** Frames to where no guest may get, and at the end one datagram to outside that says `text`. */
  const hostileFrames = (address: string, text: string) => {
    const { port } = outside
    const targets = ['127.0.0.1', '0.0.0.0', hostAddress, gateway, linkLocalAddress, '169.254.169.254', '224.0.0.251']
    return [
      ...targets.flatMap((target, index) => [
        synFrame(address, 40_000 + index, { address: target, port }),
        udpFrame(address, 41_000 + index, { address: target, port }, `from ${text}`),
      ]),
      udp6LoopbackFrame(42_000, port),
      udpFrame(address, 43_000, { address: outsideAddress, port }, text),
    ]
  }

  const reboot = async (vm: Vm) => {
    const bootId = async () => (await vm.commands.run('cat /proc/sys/kernel/random/boot_id')).stdout
    const before = await bootId()
    await vm.commands.run('(sleep 0.2; echo b > /proc/sysrq-trigger) >/dev/null 2>&1 &')
    await host.until('the guest has rebooted', async () => (await bootId().catch(() => before)) !== before)
  }

  const proveConfined = async (vm: Vm, name: string) => {
    // As a guest's root would: a route for loopback addresses that leads out of the guest.
    await vm.commands.run('ip route add 169.254.0.0/16 via 10.77.0.1 2>/dev/null || true')
    const greeted = await greeting(vm, outsideAddress, hostAddress, gateway, linkLocalAddress)
    assert.deepEqual(greeted, outsideGreets, `${name} reaches outside and nothing else`)
    await sendRaw(vm, hostileFrames(await addressOf(vm), name))
    await outside.visited((visit) => visit === `udp ${name}`, patience())
    assert.deepEqual(outside.intrusions, [])
    assert.deepEqual(
      outside.visits.filter((visit) => visit.startsWith('udp from')),
      [],
    )
  }

  it('carries `user` outside and nowhere else, from boot through pause, reboot and a new daemon to the end', async () => {
    const vm = await host.boot({ name: 'outgoing', nics: [{ network: 'user' }] })
    const [passt] = networksOf(vm)
    assert.ok(passt !== undefined && inNetworkGroup(passt.pid))
    assert.equal(uidOf(passt.pid), uidOf(vm.info.pid ?? 0), 'passt runs as the user of its vm')
    await proveConfined(vm, 'booted')
    await vm.pause()
    await vm.resume()
    assert.deepEqual(await greeting(vm, outsideAddress), outsideGreets, 'after a pause')
    await reboot(vm)
    assert.deepEqual(await greeting(vm, outsideAddress), outsideGreets, 'after a reboot from inside')
    await host.kill9()
    assert.ok(isRunning(passt), 'passt outlives the daemon')
    await host.restart()
    const adopted = await host.ramet.vms.get('outgoing')
    assert.deepEqual(await greeting(adopted, outsideAddress), outsideGreets, 'after a restart of the daemon')
    assert.deepEqual(networksOf(adopted), [passt], 'it is the same one')
    await proveConfined(adopted, 'adopted')
    await adopted.stop()
    assert.equal(isRunning(passt), false, 'passt ends with its vm')
    assert.equal(groupExists(), false)
    await adopted.start()
    assert.deepEqual(await greeting(adopted, outsideAddress), outsideGreets, 'after a new start')
    await adopted.remove({ force: true })
    assert.equal(groupExists(), false)
  })

  it('gives forked children, armed or not, a `user` network of their own', async () => {
    const parent = await host.boot({ name: 'nat-parent', nics: [{ network: 'user' }] })
    const { template } = await host.ramet.templates.create({ from: 'vm', vm: parent.id, name: 'nat', armed: 1 })
    const children = await template.forkAll({ count: 2, namePrefix: 'nat' })
    await Promise.all(children.map((child) => proveConfined(child, child.name)))
    const addresses = await Promise.all(children.map(addressOf))
    assert.equal(new Set(addresses).size, 2, 'each has an address of its own')
    const [first, second] = children
    assert.ok(first && second)
    assert.deepEqual(await greeting(first, await addressOf(second)), [], 'siblings do not reach each other')
    const passts = children.flatMap((child) => networksOf(child))
    assert.equal(passts.length, 2)
    await host.clear()
    for (const passt of passts) assert.equal(isRunning(passt), false)
    assert.equal(groupExists(), false, 'also that of the armed child has ended')
  })

  it('loses its network when passt dies, and nothing else', async () => {
    const vm = await host.boot({ name: 'orphan', nics: [{ network: 'user' }] })
    const [passt] = networksOf(vm)
    assert.ok(passt)
    process.kill(passt.pid, 'SIGKILL')
    await waitForExit(passt)
    assert.deepEqual(await greeting(vm, outsideAddress), [])
    assert.equal((await vm.commands.run('echo alive')).stdout, 'alive\n')
    await vm.remove({ force: true })
  })

  it('lets nothing out of an `isolated` guest, not even raw frames, while exec, files and ports work', async () => {
    const vm = await host.boot({ name: 'closed' })
    const before = outside.visits.length
    assert.doesNotMatch((await vm.commands.run('ip route')).stdout, /default/)
    assert.deepEqual(await greeting(vm, outsideAddress), [])
    await vm.commands.run('ip route add default via 10.77.0.1')
    assert.deepEqual(await greeting(vm, outsideAddress), [])
    await sendRaw(vm, hostileFrames(await addressOf(vm), 'closed'))
    const { pid } = vm.info
    assert.ok(pid)
    assert.deepEqual(networksOf(vm), [], 'nothing carries frames')
    assert.deepEqual(internetSocketsOf(pid), [], 'QEMU has no socket of a network')
    await vm.files.write('/tmp/file', 'content')
    assert.equal(await vm.files.read('/tmp/file'), 'content')
    await vm.commands.run('while true; do echo served | nc -l -p 8080; done', { background: true })
    await vm.commands.run("until netstat -ltn | grep -q ':8080 '; do sleep 0.1; done")
    const { hostPort } = await vm.publish({ guestPort: 8080 })
    assert.equal(await readAll(hostPort), 'served\n')
    assert.equal(outside.visits.length, before)
    assert.deepEqual(outside.intrusions, [])
    await vm.remove({ force: true })
  })

  it('keeps the link of a `none` card down', async () => {
    const vm = await host.boot({ name: 'dark', nics: [{ network: 'none' }] })
    const carrier = 'ip link set eth0 up; cat /sys/class/net/eth0/carrier'
    assert.equal((await vm.commands.run(carrier)).stdout, '0\n')
    assert.doesNotMatch((await vm.commands.run('ip -4 address show dev eth0')).stdout, /inet /)
    await vm.remove({ force: true })
  })
})

function groupExists(): boolean {
  return ['/sys/fs/cgroup', '/sys/fs/cgroup/unified'].some((directory) => existsSync(join(directory, networkGroupName)))
}

function uidOf(pid: number): number {
  return Number(/^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])
}

/** Descriptors of a process that are sockets of IPv4, IPv6 or of packets. */
function internetSocketsOf(pid: number): string[] {
  assert.ok(identify(pid))
  const tables = ['tcp', 'tcp6', 'udp', 'udp6', 'raw', 'raw6', 'packet']
  const inodes = tables.map((table) => readFileSync(`/proc/${pid}/net/${table}`, 'utf8')).join('\n')
  return readdirSync(`/proc/${pid}/fd`)
    .map((fd) => /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1])
    .filter((inode): inode is string => inode !== undefined && new RegExp(`\\b${inode}\\b`).test(inodes))
}

function readAll(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    connect(port, '127.0.0.1')
      .setEncoding('utf8')
      .on('data', (part: string) => {
        text += part
      })
      .on('error', reject)
      .on('close', () => resolve(text))
  })
}
