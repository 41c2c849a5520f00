/** Random lives of a vm: what users ask of it and what its guest does, one after another and all at once. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { VmState } from '../../api/vm.ts'
import { isRametError } from '../../shared/errors.ts'
import { TestEngine } from '../testing/test-engine.ts'

const steps = ['start', 'stop', 'kill', 'pause', 'resume', 'crash', 'panic', 'power off'] as const
type Step = (typeof steps)[number]

/** Where each step leads from a settled state; undefined: it is refused, or nothing happens. */
const model: Partial<Record<VmState, Partial<Record<Step, VmState>>>> = {
  created: { start: 'running' },
  running: {
    stop: 'stopped',
    kill: 'stopped',
    pause: 'paused',
    crash: 'failed',
    panic: 'failed',
    'power off': 'stopped',
  },
  paused: { stop: 'stopped', kill: 'stopped', resume: 'running', crash: 'failed' },
  stopped: { start: 'running' },
  failed: { start: 'running' },
}

async function userStep(engine: TestEngine, id: string, step: 'start' | 'stop' | 'kill' | 'pause' | 'resume') {
  const { vms } = engine
  if (step === 'stop') return void (await (await vms.stop(id, { force: true, timeoutMs: 5000 })).done)
  if (step === 'pause') return void (await (await vms.pause(id, { toDisk: false })).done)
  await (await vms[step](id)).done
}

/** What the guest does, if there is one that could. */
function guestStep(engine: TestEngine, id: string, step: 'crash' | 'panic' | 'power off'): void {
  const guest = engine.vmm.guests.get(id)
  if (engine.parts.runtimes.get(id) === undefined || guest === undefined) return
  if (step === 'crash') guest.crash()
  else if (guest.status === 'running') step === 'panic' ? guest.panic() : guest.powerOff()
}

async function take(engine: TestEngine, id: string, step: Step): Promise<void> {
  if (step === 'crash' || step === 'panic' || step === 'power off') guestStep(engine, id, step)
  else await userStep(engine, id, step)
}

/** Resolves when a vm has left the state that it was in. */
async function untilLeft(engine: TestEngine, id: string, state: VmState): Promise<void> {
  const left = Promise.withResolvers<void>()
  const { unsubscribe } = engine.context.events.subscribe(undefined, ({ resource, data }) => {
    if (resource.id === id && data.state !== state) left.resolve()
  })
  if (engine.context.vms.find(id).state !== state) left.resolve()
  await left.promise
  unsubscribe()
}

/** What must hold whenever nothing is under way. */
function checkSettled(engine: TestEngine, id: string): void {
  const vm = engine.context.vms.find(id)
  const isLive = vm.state === 'running' || vm.state === 'paused'
  assert.ok(vm.state in model, `${vm.state} is settled`)
  assert.equal(engine.parts.runtimes.get(id) !== undefined, isLive)
  assert.equal(vm.process !== undefined, isLive)
  assert.equal(vm.failure !== undefined, vm.state === 'failed')
  assert.deepEqual(engine.openOwners(), [])
}

test('one step after another, a vm goes where the model says', async () => {
  await using engine = await TestEngine.open()
  const lives = fc.array(fc.constantFrom(...steps), { minLength: 4, maxLength: 10 })
  await fc.assert(
    fc.asyncProperty(lives, async (life) => {
      const { id } = await engine.createVm({ start: false })
      for (const step of ['start' as const, ...life]) {
        const { state } = engine.context.vms.find(id)
        const expected = model[state]?.[step]
        const outcome = await take(engine, id, step).catch((error: unknown) => error)
        const isGuests = step === 'crash' || step === 'panic' || step === 'power off'
        if (expected === undefined && !isGuests) assert.ok(isRametError(outcome, 'ILLEGAL_STATE'), String(outcome))
        if (expected !== undefined && isGuests) await untilLeft(engine, id, state)
        assert.equal(engine.context.vms.find(id).state, expected ?? state, `${step} from ${state}`)
        checkSettled(engine, id)
      }
      await (await engine.vms.remove(id, true)).done
    }),
    { numRuns: 8, timeout: 30_000 },
  )
  assert.deepEqual(engine.context.vms.list(), [])
})

test('all at once, a vm still comes to rest, and goes without a trace', async () => {
  await using engine = await TestEngine.open()
  const lives = fc.array(fc.constantFrom(...steps), { minLength: 2, maxLength: 6 })
  await fc.assert(
    fc.asyncProperty(lives, async (life) => {
      const { id } = await engine.createVm()
      await Promise.allSettled(life.map((step) => take(engine, id, step)))
      // Whatever the guest did is dealt with in its turn, and this comes after it.
      await engine.parts.runtimes.exclusively(id, async () => {})
      const removal = await engine.vms.remove(id, true)
      await Promise.allSettled([removal.done, take(engine, id, 'start'), take(engine, id, 'kill')])
      assert.equal(engine.context.vms.get(id), undefined)
      assert.equal(engine.parts.runtimes.get(id), undefined)
      assert.deepEqual(engine.openOwners(), [])
    }),
    { numRuns: 12, timeout: 30_000 },
  )
  assert.equal(engine.context.seats.take(), 2, 'every seat was freed')
})
