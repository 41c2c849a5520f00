import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { type Template, Vm } from '../src/client/index.ts'
import { clockOffsetMs } from './support/clock.ts'
import { count, startCounter } from './support/counter.ts'
import { Host, withHost } from './support/host.ts'

const childCount = 4

const generationOf = `sed 's/.*"generation": *\\([0-9]*\\).*/\\1/' /run/ramet/identity.json`
const recordEntropy = `while :; do
  generation=$(${generationOf}); head -c 32 /dev/urandom > /tmp/entropy.now
  [ "$generation" = "$(${generationOf})" ] || continue
  [ -e /tmp/entropy.$generation ] || mv /tmp/entropy.now /tmp/entropy.$generation
  usleep 20000
done`

describe('a fork of a template', () => {
  let host: Host
  let template: Template
  let children: Vm[] = []
  let parentHostname = ''

  before(async () => {
    host = await Host.start()
    template = await host.template('counter', async (vm) => {
      await startCounter(vm)
      assert.equal(await count(vm), '1 x')
      assert.equal(await count(vm), '2 x')
      // A program that keeps what it reads of the generator first in each generation.
      await vm.commands.run(recordEntropy, { background: true })
      parentHostname = (await vm.commands.run('hostname')).stdout.trim()
    })
    children = await template.forkAll({ count: childCount, namePrefix: 'child' })
  })
  after(() => host.close())

  it('consumes its parent', async () => {
    assert.equal(await host.gone('counter-parent'), true)
    assert.equal(parentHostname, 'counter-parent')
  })

  it('goes on from the same state in each child, which then diverge', async () => {
    assert.equal(children.length, childCount)
    for (const [index, child] of children.entries()) {
      assert.equal(await count(child, child.name), `3 ${child.name}`)
      for (let more = 0; more < index; more += 1) await count(child)
    }
    for (const [index, child] of children.entries()) assert.equal(await count(child, 'last'), `${4 + index} last`)
  })

  it('gives each child an identity of its own, inside as outside', async () => {
    const seen: Record<string, Set<string>> = {}
    for (const child of children) {
      const identity = JSON.parse(await child.files.read('/run/ramet/identity.json'))
      const inside = {
        hostname: (await child.commands.run('hostname')).stdout.trim(),
        machineId: (await child.files.read('/etc/machine-id')).trim(),
        mac: (await child.commands.run('cat /sys/class/net/eth0/address')).stdout.trim(),
        ip: /inet ([0-9./]+)/.exec((await child.commands.run('ip -4 addr show eth0')).stdout)?.[1] ?? '',
      }
      assert.equal(inside.hostname, child.name)
      assert.equal(inside.mac, child.info.nics[0]?.mac)
      assert.equal(inside.ip, child.info.nics[0]?.ip)
      assert.match(inside.machineId, /^[0-9a-f]{32}$/)
      assert.equal(identity.generation, child.info.generation)
      assert.ok(child.info.generation > template.info.generation)
      for (const [name, value] of Object.entries(inside)) seen[name] = (seen[name] ?? new Set()).add(value)
    }
    for (const [name, values] of Object.entries(seen)) assert.equal(values.size, childCount, `${name} repeats`)
  })

  it('gives each child other random bytes from the first read on', async () => {
    const reads = await Promise.all(
      children.map((child) => child.files.read(`/tmp/entropy.${child.info.generation}`, { format: 'bytes' }).then(hex)),
    )
    const fresh = await Promise.all(
      children.map(async (child) => (await child.commands.run('head -c 32 /dev/urandom | od -An -tx1')).stdout),
    )
    for (const bytes of reads) assert.equal(bytes.length, 64)
    assert.equal(new Set(reads).size, childCount, `siblings read the same: ${reads.join(' ')}`)
    assert.equal(new Set(fresh).size, childCount)
  })

  it('sets the clock of each child within 50 ms of the host', async () => {
    for (const child of children) {
      const offset = await clockOffsetMs(child)
      assert.ok(Math.abs(offset.ms) <= 50 + offset.uncertaintyMs, `${child.name} is off by ${JSON.stringify(offset)}`)
    }
  })

  it('names the lineage', async () => {
    const tree = await host.ramet.tree({ of: 'counter' })
    const text = JSON.stringify(tree)
    for (const child of children) assert.ok(text.includes(child.name), child.name)
    assert.equal(children[0]?.info.parentId, template.id)
  })

  it('tells the stages of each fork', () => {
    for (const child of children) {
      const timings = child.info.timings ?? {}
      assert.ok((timings.readyMs ?? 0) >= (timings.runningMs ?? Number.POSITIVE_INFINITY), JSON.stringify(timings))
      assert.ok((timings.identityMs ?? 0) > 0, JSON.stringify(timings))
    }
  })
})

describe('a template that keeps its vm', () => {
  it('starts it again as the first child, in the state that it had', async () => {
    await withHost({}, async (host) => {
      const vm = await host.boot({ name: 'kept' })
      await startCounter(vm)
      await count(vm)
      const made = await host.ramet.templates.create({ from: 'vm', vm: 'kept', name: 'of-kept', keep: true })
      assert.ok(made.kept instanceof Vm)
      assert.equal(made.kept.name, 'kept')
      assert.equal(made.kept.info.parentId, made.template.id)
      assert.equal(await count(made.kept, 'again'), '2 again')
      assert.equal((await made.kept.commands.run('hostname')).stdout.trim(), 'kept')
    })
  })
})

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}
