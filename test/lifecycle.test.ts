import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { RametApiError, type Vm } from '../src/client/index.ts'
import { count, startCounter } from './support/counter.ts'
import { Host } from './support/host.ts'

const GiB = 1024 ** 3

describe('the life of a vm', () => {
  let host: Host
  let vm: Vm

  before(async () => {
    host = await Host.start()
    vm = await host.boot({ name: 'life' })
    await startCounter(vm)
  })
  after(() => host.close())

  it('stands still while it is paused, and goes on with the right time', async () => {
    await count(vm)
    await vm.pause()
    assert.equal(vm.state, 'paused')
    await assert.rejects(vm.commands.run('true'), { code: 'ILLEGAL_STATE' })
    await vm.resume()
    assert.equal(await count(vm), '2 x')
    const guestSeconds = Number((await vm.commands.run('date +%s')).stdout)
    assert.ok(Math.abs(guestSeconds - Date.now() / 1000) < 2)
  })

  it('stays paused over a restart of the daemon', async () => {
    await vm.pause()
    await host.kill9()
    await host.restart()
    assert.equal((await vm.refresh()).state, 'paused')
    await vm.resume()
    assert.equal(await count(vm), '3 x')
  })

  it('refuses what its state does not allow, and names the state', async () => {
    const attempts: [string, () => Promise<unknown>][] = [
      ['start', () => vm.start()],
      ['resume', () => vm.resume()],
      ['remove', () => vm.remove({ force: false })],
    ]
    for (const [what, attempt] of attempts) {
      await assert.rejects(
        attempt,
        (error) =>
          error instanceof RametApiError &&
          error.code === 'ILLEGAL_STATE' &&
          error.status === 409 &&
          error.details.state === 'running' &&
          error.message.includes('it is running'),
        what,
      )
    }
    const { code, stderr } = await host.cli(['start', 'life'])
    assert.equal(code, 4)
    assert.match(stderr, /it is running/)
  })

  it('stops as asked, keeps its disk, and starts again', async () => {
    await vm.stop()
    assert.equal(vm.state, 'stopped')
    for (const attempt of [() => vm.pause(), () => vm.kill(), () => vm.stop(), () => vm.fork()]) {
      await assert.rejects(attempt, { code: 'ILLEGAL_STATE' })
    }
    await assert.rejects(host.ramet.templates.create({ from: 'vm', vm: vm.id, name: 'cold' }), {
      code: 'ILLEGAL_STATE',
    })
    await vm.start()
    assert.equal((await vm.commands.run('hostname')).stdout.trim(), 'life')
    await vm.kill()
    assert.equal(vm.state, 'stopped')
  })

  it('is found by its name alone, so that a name is given once', async () => {
    await assert.rejects(host.boot({ name: 'life' }), { code: 'NAME_TAKEN', status: 409 })
    const { code } = await host.cli(['create', 'micro', '--name', 'life'])
    assert.equal(code, 4)
  })

  it('is not begun with a bad name, an unknown image, or more memory than the host has', async () => {
    for (const name of ['', 'Upper', '-dash', 'dash-', 'a_b', 'a/b', '..', 'x'.repeat(64), 'ü']) {
      await assert.rejects(host.boot({ name }), { code: 'INVALID_NAME' }, name)
    }
    await assert.rejects(host.boot({ name: 'none', image: 'nonesuch' }), {
      code: 'IMAGE_NOT_FOUND',
      remediation: /ramet image/,
    })
    await assert.rejects(host.boot({ name: 'huge', memoryBytes: 900 * GiB }), { code: 'NO_CAPACITY' })
    const unknown = await host.cli(['create', 'nonesuch'])
    assert.equal(unknown.code, 3)
    assert.match(unknown.stderr, /nonesuch/)
    const huge = await host.cli(['create', 'micro', '--name', 'huge', '--memory', '900G'])
    assert.equal(huge.code, 5, huge.stderr)
    assert.deepEqual((await host.ramet.vms.list()).map(({ name }) => name).sort(), ['life'])
  })

  it('is over when its time to live is, which does not run while it is paused', async () => {
    const mayfly = await host.boot({ name: 'mayfly', ttlMs: 1_000_000 })
    await mayfly.setTimeout(1500)
    await mayfly.pause()
    assert.equal(mayfly.info.expiresAt, undefined)
    await mayfly.resume()
    await host.untilGone('mayfly', 30_000)
  })

  it('leaves nothing when it is removed', async () => {
    await vm.remove()
    assert.equal(await host.gone('life'), true)
    const { code } = await host.cli(['inspect', 'life'])
    assert.equal(code, 3)
  })
})
