import assert from 'node:assert/strict'
import process from 'node:process'
import { after, before, describe, it } from 'node:test'
import { ForkError, RametApiError, type Template, Vm } from '../src/client/index.ts'
import { count, startCounter } from './support/counter.ts'
import { Host } from './support/host.ts'
import { keepersOf } from './support/leaks.ts'

const MiB = 1024 * 1024

describe('a template', () => {
  let host: Host
  let template: Template

  before(async () => {
    host = await Host.start()
    template = await host.template('lasting', async (vm) => {
      await startCounter(vm)
      await count(vm)
      await vm.commands.run(watchIdentity, { background: true })
      await vm.commands.run(
        ['sh', '-c', 'cat > /etc/ramet/post-fork.d/10-tell && chmod +x /etc/ramet/post-fork.d/10-tell'],
        {
          stdin: '#!/bin/sh\nenv > /run/hook-environment\n[ ! -e /etc/refuse ] || { echo no thanks >&2; exit 9; }\n',
        },
      )
    })
  })
  after(() => host.close())

  async function goesOn(name: string): Promise<void> {
    const [child] = await template.forkAll({ names: [name] })
    assert.ok(child)
    assert.equal(await count(child), '2 x')
    await child.remove()
  }

  it('is there after the daemon was stopped, and after it was killed', async () => {
    await host.restart()
    await goesOn('after-stop')
    await host.kill9()
    await host.restart()
    assert.equal((await template.refresh()).resident, true)
    await goesOn('after-kill')
  })

  it('is loaded from its file when its memory is lost, while the daemon runs and while none does', async () => {
    const [keeper] = keepersOf(host.dataDir)
    process.kill(keeper ?? 0, 'SIGKILL')
    await goesOn('reloaded')
    const [second] = keepersOf(host.dataDir)
    assert.notEqual(second, keeper)
    await host.kill9()
    process.kill(second ?? 0, 'SIGKILL')
    await host.restart()
    assert.equal((await template.refresh()).resident, false, 'nothing is loaded before it is needed')
    await goesOn('reloaded-again')
    assert.equal((await template.refresh()).resident, true)
  })

  it('with children is not removed, and says who they are', async () => {
    const children = await template.forkAll({ count: 2, names: ['anna', 'bert'] })
    await assert.rejects(
      template.remove(),
      (error) =>
        error instanceof RametApiError &&
        error.code === 'IN_USE' &&
        error.status === 409 &&
        error.message.includes('anna') &&
        JSON.stringify(error.details.children) === '["anna","bert"]',
    )
    const { code, stderr } = await host.cli(['template', 'rm', 'lasting'])
    assert.equal(code, 4)
    assert.match(stderr, /anna, bert/)
    await Promise.all(children.map((child) => child.remove()))
  })

  it('names its own value for what cannot be chosen at fork', async () => {
    const frozen: Record<string, unknown> = {
      image: 'debian',
      cpus: 2,
      memoryBytes: 512 * MiB,
      disks: [],
      nics: [],
      init: 'system',
    }
    for (const [option, value] of Object.entries(frozen)) {
      await assert.rejects(
        template.fork({ [option]: value }),
        (error) =>
          error instanceof RametApiError && error.code === 'FROZEN_BY_TEMPLATE' && error.message.includes(option),
        option,
      )
    }
    await assert.rejects(template.fork({ memoryBytes: 512 * MiB }), /template lasting has 256 MiB/)
  })

  it('gives a child its files and its environment before the workload runs', async () => {
    const [child] = await template.forkAll({
      names: ['prepared'],
      environment: { COLOUR: 'dark green' },
      labels: { team: 'blue' },
      files: [{ path: '/srv/deep/injected', contentBase64: Buffer.from('content').toString('base64'), mode: 0o600 }],
    })
    assert.ok(child)
    assert.equal(await child.files.read('/srv/deep/injected'), 'content')
    assert.equal((await child.files.getInfo('/srv/deep/injected')).mode, 0o600)
    const seen = `/run/seen.${child.info.generation}`
    await host.until('the workload has looked', () => child.files.exists(seen))
    assert.equal((await child.files.read(seen)).trim(), 'there', 'the file was there when the workload first ran')
    assert.equal((await child.commands.run('echo $COLOUR')).stdout, 'dark green\n')
    assert.match(await child.files.read('/run/hook-environment'), /^COLOUR=dark green$/m)
    assert.deepEqual(child.info.labels, { team: 'blue' })
    assert.deepEqual(
      (await host.ramet.vms.list({ label: ['team=blue'] })).map(({ name }) => name),
      ['prepared'],
    )
    await child.remove()
  })

  it('destroys a child whose hook fails, and makes the others', async () => {
    const refusing = { path: '/etc/refuse', contentBase64: '' }
    const [refused] = await template.fork({ names: ['refused'], files: [refusing] })
    assert.ok(refused instanceof ForkError)
    assert.equal(refused.code, 'GUEST_REFUSED')
    assert.match(JSON.stringify(refused.problem), /no thanks/)
    assert.equal(await host.gone('refused'), true)
    await goesOn('unharmed')
  })

  it('leaves no child of an atomic fork of which one fails', async () => {
    await host.restart('fork.identified=EIO@3')
    await assert.rejects(template.forkAll({ count: 4, namePrefix: 'all' }), { code: 'FORK_INCOMPLETE' })
    assert.deepEqual(await host.ramet.vms.list(), [])
    await host.restart('fork.identified=EIO@3')
    const some = await template.fork({ count: 4, namePrefix: 'some' })
    assert.equal(some.filter((child) => child instanceof Vm).length, 3)
    assert.equal(some.filter((child) => child instanceof ForkError).length, 1)
    assert.equal((await host.ramet.vms.list()).length, 3)
    await host.clearVms()
    await host.restart()
  })

  it('forks children with their links down if that is asked for', async () => {
    const [down, up] = [
      ...(await template.forkAll({ names: ['down'], link: 'down' })),
      ...(await template.forkAll({ names: ['up'] })),
    ]
    assert.ok(down && up)
    assert.equal(await carrierOf(down), '0')
    assert.equal(await carrierOf(up), '1')
    await down.update({ link: 'up' })
    await host.until('the link is up', async () => (await carrierOf(down)) === '1')
    await host.clearVms()
  })

  it('is not made when a hook of its vm fails, and the vm runs on', async () => {
    const vm = await host.boot({ name: 'hooked' })
    await startCounter(vm)
    await vm.commands.run(
      'printf "#!/bin/sh\\necho not now >&2; exit 5\\n" > /etc/ramet/pre-snapshot.d/no; chmod +x /etc/ramet/pre-snapshot.d/no',
    )
    await assert.rejects(
      host.ramet.templates.create({ from: 'vm', vm: 'hooked', name: 'never' }),
      (error) =>
        error instanceof RametApiError &&
        error.code === 'GUEST_REFUSED' &&
        /not now/.test(JSON.stringify(error.problem)),
    )
    await assert.rejects(host.ramet.templates.get('never'), { code: 'TEMPLATE_NOT_FOUND' })
    assert.equal((await vm.refresh()).state, 'running')
    assert.equal(await count(vm), '1 x')
    await vm.files.remove('/etc/ramet/pre-snapshot.d/no')
    const { template: made } = await host.ramet.templates.create({ from: 'vm', vm: 'hooked', name: 'ever' })
    await made.remove()
  })

  it('is made in one go from an image, a command and a probe', async () => {
    const { template: made } = await host.ramet.templates.create({
      from: 'image',
      image: 'micro',
      name: 'at-once',
      startCommand: ['sh', '-c', 'usleep 300000; echo up > /run/up; sleep 100000'],
      readiness: { command: ['test', '-e', '/run/up'], intervalMs: 50 },
    })
    const [child] = await made.forkAll({ names: ['of-at-once'] })
    assert.ok(child)
    assert.equal(await child.files.read('/run/up'), 'up\n')
    assert.match((await child.commands.run('ps')).stdout, /sleep 100000/)
    await child.remove()
    await made.remove()
  })

  it('whose probe never succeeds is not made, and nothing is left of it', async () => {
    const before = (await host.ramet.vms.list()).length
    await assert.rejects(
      host.ramet.templates.create({
        from: 'image',
        image: 'micro',
        name: 'hopeless',
        readiness: { command: ['false'], intervalMs: 50, timeoutMs: 1000 },
      }),
      { code: 'READINESS_FAILED' },
    )
    await assert.rejects(host.ramet.templates.get('hopeless'), { code: 'TEMPLATE_NOT_FOUND' })
    assert.equal((await host.ramet.vms.list()).length, before)
  })
})

/** A workload that notes, at its first turn in each generation, whether the injected file is there. */
const watchIdentity = `while :; do
  generation=$(sed 's/.*"generation": *\\([0-9]*\\).*/\\1/' /run/ramet/identity.json)
  if [ -e /srv/deep/injected ]; then found=there; else found=missing; fi
  [ -e /run/seen.$generation ] || echo $found > /run/seen.$generation
  usleep 20000
done`

async function carrierOf(vm: Vm): Promise<string> {
  return (await vm.commands.run('cat /sys/class/net/eth0/carrier')).stdout.trim()
}
