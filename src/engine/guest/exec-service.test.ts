import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { AgentLink } from '../../agent/link.ts'
import { FakeAgent } from '../../agent/testing/fake/agent.ts'
import { ExecStart } from '../../api/exec.ts'
import { systemClock } from '../../shared/clock.ts'
import { isRametError } from '../../shared/errors.ts'
import type { ExecSession } from '../contract.ts'
import type { EngineParts } from '../parts.ts'
import type { VmRecord } from '../records.ts'
import { Uses } from '../uses.ts'
import { ExecService } from './exec-service.ts'

const vm = { id: 'vm-1', name: 'web', state: 'running' } as VmRecord

/** The service over an agent without a guest; `renew` as if the vm had been to disk meanwhile. */
async function withService(
  work: (execs: ExecService, renew: () => void) => Promise<void>,
  reattachMs?: number,
  uses = new Uses(),
): Promise<void> {
  await using agent = await FakeAgent.start()
  const link = new AgentLink({ path: agent.path, clock: systemClock })
  try {
    const session = await link.openSession()
    let runtime = { guest: { session: async () => session } }
    const renew = () => {
      runtime = { ...runtime }
    }
    const runtimes = { get: () => runtime, reachable: () => runtime, session: async () => session, uses }
    const vms = { get: () => vm }
    const context = { random: randomBytes, clock: systemClock, measure: () => {}, vms }
    const calls = { begin: async () => ({ vm, ...uses.hold(vm.id) }) }
    const restores = { mark: () => {} }
    await work(new ExecService({ runtimes, context, calls, restores } as unknown as EngineParts, reattachMs), renew)
  } finally {
    link.close()
  }
}

const requested = (changes: Partial<ExecStart>) => ExecStart.parse({ command: ['true'], ...changes })

async function outputOf(session: ExecSession): Promise<string> {
  let text = ''
  for await (const item of session.output) {
    if (item.type === 'data') text += Buffer.from(item.data).toString()
    if (item.type === 'exit') text += `exit ${item.exitCode ?? item.signal}`
  }
  return text
}

test('a command’s output comes with its end', () =>
  withService(async (execs) => {
    const session = await execs.start(vm, requested({ command: 'echo one; echo two; exit 3' }))
    assert.equal(await outputOf(session), 'one\ntwo\nexit 3')
  }))

test('a start that is asked for twice at the same time takes place once', () =>
  withService(async (execs) => {
    const request = requested({ command: ['sleep', '60'], execId: 'mine' })
    const [first, second] = await Promise.all([execs.start(vm, request), execs.start(vm, request)])
    assert.equal(first.exec.pid, second.exec.pid)
    assert.equal((await execs.list(vm)).length, 1)
    await second.signal('SIGKILL')
    assert.equal(await outputOf(second), 'exit SIGKILL')
    const again = await execs.start(vm, request)
    assert.equal(again.exec.pid, first.exec.pid, 'it has run; its output can be read again')
  }))

test('a process that runs is not forgotten, one that has ended is', () =>
  withService(async (execs) => {
    const session = await execs.start(vm, requested({ command: ['sleep', '60'], execId: 'mine' }))
    await assert.rejects(execs.remove(vm, 'mine'), (error) => isRametError(error, 'ILLEGAL_STATE'))
    await execs.signal(vm, 'mine', 'SIGKILL')
    await outputOf(session)
    await execs.remove(vm, 'mine')
    await assert.rejects(execs.remove(vm, 'mine'), (error) => isRametError(error, 'NOT_FOUND'))
  }))

test('a process that takes too long is killed', () =>
  withService(async (execs) => {
    const session = await execs.start(vm, requested({ command: ['sleep', '60'], timeoutMs: 50 }))
    assert.equal(await outputOf(session), 'exit SIGKILL')
  }))

test('a newer attachment ends the older one', () =>
  withService(async (execs) => {
    const older = await execs.start(vm, requested({ command: ['sleep', '60'], execId: 'mine' }))
    const newer = await execs.attach(vm, 'mine', { stdoutOffset: 0, stderrOffset: 0 })
    assert.equal(await outputOf(older), '')
    await newer.release('closed')
    assert.equal(await outputOf(newer), '')
  }))

test('a command whose client was lost ends when nobody comes back for it', async () => {
  await withService(async (execs) => {
    const session = await execs.start(vm, requested({ command: ['cat'], execId: 'left' }))
    await session.release('lost')
    await untilEnded(execs, 'left')
  }, 10)
})

test('a command whose vm was paused to disk goes on, though nobody comes back for it', async () => {
  const uses = new Uses()
  const unused = new Promise<void>((resolve) => {
    uses.onUnused = () => {
      if (!uses.isHeld(vm.id)) resolve()
    }
  })
  const work = async (execs: ExecService, renew: () => void) => {
    const session = await execs.start(vm, requested({ command: ['cat'], execId: 'slept' }))
    await session.release('lost')
    renew()
    await unused
    const again = await execs.attach(vm, 'slept', { stdoutOffset: 0, stderrOffset: 0 })
    await again.end(0)
    assert.equal(await outputOf(again), 'exit 0')
  }
  await withService(work, 10, uses)
})

test('a client that comes back in time finds its command', async () => {
  await withService(async (execs) => {
    const first = await execs.start(vm, requested({ command: ['cat'], execId: 'kept' }))
    await first.release('lost')
    const second = await execs.attach(vm, 'kept', { stdoutOffset: 0, stderrOffset: 0 })
    await second.end(0)
    assert.equal(await outputOf(second), 'exit 0')
  }, 60_000)
})

test('a vm is in use while a command is attached, or its client may come back, and not for one that was detached', async () => {
  const uses = new Uses()
  const unused = () =>
    new Promise<void>((resolve) => {
      uses.onUnused = () => resolve()
    })
  const work = async (execs: ExecService) => {
    let over = unused()
    const session = await execs.start(vm, requested({ command: ['cat'], execId: 'held' }))
    assert.equal(uses.isHeld(vm.id), true)
    await session.end(0)
    assert.equal(await outputOf(session), 'exit 0')
    await over
    const left = await execs.start(vm, requested({ command: ['cat'], execId: 'left' }))
    over = unused()
    await left.release('lost')
    assert.equal(uses.isHeld(vm.id), true)
    await over
    const sleeper = await execs.start(vm, requested({ command: ['sleep', '60'], execId: 'detached', detached: true }))
    over = unused()
    await sleeper.release('detach')
    await over
    assert.equal(uses.isHeld(vm.id), false)
    await assert.rejects(execs.start(vm, requested({ command: ['/no/such/program'] })))
    assert.equal(uses.isHeld(vm.id), false)
    await execs.signal(vm, 'detached', 'SIGKILL')
  }
  await withService(work, 10, uses)
})

async function untilEnded(execs: ExecService, execId: string): Promise<void> {
  for (;;) {
    const exec = (await execs.list(vm)).find((candidate) => candidate.execId === execId)
    if (exec?.state === 'exited') return assert.equal(exec.signal, 'SIGHUP')
    await new Promise((resolve) => setImmediate(resolve))
  }
}
