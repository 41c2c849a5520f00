import assert from 'node:assert/strict'
import process from 'node:process'
import { after, before, describe, it } from 'node:test'
import { RametApiError, type Vm, type VmState } from '../src/client/index.ts'
import { Host } from './support/host.ts'

describe('the fork of a vm that does not run', () => {
  let host: Host
  let vm: Vm

  before(async () => {
    host = await Host.start()
    vm = await host.boot({ name: 'web', start: false })
  })
  after(() => host.close())

  async function refused(state: VmState): Promise<void> {
    await host.untilState(vm, state)
    await assert.rejects(
      vm.fork({ names: ['child'] }),
      (error) =>
        error instanceof RametApiError &&
        error.code === 'ILLEGAL_STATE' &&
        error.status === 409 &&
        error.details.state === state &&
        error.message === `cannot fork web: it is ${state}`,
    )
    const { code, stderr } = await host.cli(['fork', 'web', '--name', 'child'])
    assert.equal(code, 4)
    assert.match(stderr, new RegExp(`cannot fork web: it is ${state}`))
    assert.equal((await vm.refresh()).state, state, 'nothing has happened to it')
    assert.equal(await host.gone('child'), true)
  }

  /** Keeps QEMU from doing what is asked of it until the refusal has been seen. */
  async function refusedMeanwhile(state: VmState, ask: () => Promise<void>): Promise<void> {
    const { pid } = await vm.refresh()
    assert.ok(pid !== undefined)
    process.kill(pid, 'SIGSTOP')
    const asked = ask()
    try {
      await refused(state)
    } finally {
      process.kill(pid, 'SIGCONT')
    }
    await asked
  }

  it('is a conflict that names the state, in every state that it can be held in', async () => {
    await refused('created')
    const start = vm.start()
    await host.until('QEMU boots it', async () => (await vm.refresh()).pid !== undefined)
    await refusedMeanwhile('starting', () => start)
    await refusedMeanwhile('pausing', () => vm.pause())
    await refused('paused')
    await refusedMeanwhile('resuming', () => vm.resume())
    await refusedMeanwhile('stopping', () => vm.stop())
    await refused('stopped')
    await vm.start()
    process.kill(vm.info.pid ?? 0, 'SIGKILL')
    await refused('failed')
  })

  it('is no more refused once it runs', async () => {
    await vm.start()
    const [child] = await vm.forkAll({ names: ['child'] })
    assert.equal(child?.state, 'running')
  })
})
