import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ForkRequest } from '../../api/fork.ts'
import { type VmState, vmStates } from '../../api/vm.ts'
import { isRametError, type RametError } from '../../shared/errors.ts'
import type { VmRecord } from '../records.ts'
import { TestEngine } from '../testing/test-engine.ts'
import { type CaptureManner, checkCapturable, warningsOf } from './fork-conflicts.ts'

const manner = (changes: Partial<CaptureManner> = {}): CaptureManner => ({
  freeze: true,
  agent: true,
  ...changes,
})

const vm = (state: VmState, more: Partial<VmRecord> = {}) => ({ id: 'vm-1', name: 'web', state, ...more }) as VmRecord

function refusal(of: VmRecord, how: CaptureManner = manner()): RametError | undefined {
  try {
    checkCapturable(of, how, 'fork')
  } catch (error) {
    assert.ok(isRametError(error))
    return error
  }
  return undefined
}

test('a vm is forked while it runs; in any other state the conflict names it and what to do', () => {
  // What is being captured runs again in a moment, and its next fork waits for that.
  const forkable: VmState[] = ['running', 'capturing']
  for (const state of vmStates) {
    const refused = refusal(vm(state))
    assert.equal(refused === undefined, forkable.includes(state), state)
    if (refused === undefined) continue
    assert.equal(refused.code, 'ILLEGAL_STATE', state)
    assert.match(refused.message, new RegExp(`cannot fork web: it is ${state}`))
    assert.deepEqual(refused.details, { state, action: 'fork' })
    assert.match(refused.remediation, /\.$/, state)
  }
})

test('a paused vm is forked as it stands where its workload need not be frozen, or is already', () => {
  assert.match(refusal(vm('paused'))?.remediation ?? '', /ramet resume web.*--no-freeze/)
  for (const how of [{ freeze: false }, { agent: false }]) assert.equal(refusal(vm('paused'), manner(how)), undefined)
  const frozen = vm('paused', { frozenWhilePaused: true })
  assert.equal(refusal(frozen), undefined)
  // Nobody could thaw it in a child.
  assert.match(refusal(frozen, manner({ agent: false }))?.remediation ?? '', /Leave out --no-agent/)
})

test('a vm that was forked without its agent is forked so again, or not at all', () => {
  const nobody = vm('running', { identity: 'none' })
  const refused = refusal(nobody)
  assert.equal(refused?.code, 'GUEST_UNREACHABLE')
  assert.match(refused?.remediation ?? '', /ramet fork web --no-agent/)
  assert.equal(refusal(nobody, manner({ agent: false })), undefined)
})

test('only children that are not what a fork otherwise makes come with a warning', () => {
  assert.deepEqual(warningsOf(manner(), true), [])
  assert.match(warningsOf(manner({ freeze: false }), false).join(), /in the name of their parent/)
  assert.match(warningsOf(manner({ agent: false }), false).join(), /no identity/)
})

test('what is for a vm that runs is refused for a template', async () => {
  await using engine = await TestEngine.open()
  const template = await engine.createTemplate('warm')
  for (const [option, value] of Object.entries({ pauseParent: true, freeze: false, agent: false })) {
    await assert.rejects(engine.forks.fork(template, ForkRequest.parse({ [option]: value })), (error) => {
      assert.ok(isRametError(error, 'INVALID_ARGUMENT'))
      assert.match(error.message, new RegExp(`^${option} cannot be chosen for a fork of template warm`))
      return true
    })
  }
})

test('a vm that is not running is refused before anything is begun', async () => {
  await using engine = await TestEngine.open()
  const stopped = await engine.createVm({ name: 'web', start: false })
  await assert.rejects(engine.forks.forkVm(stopped, ForkRequest.parse({})), (error) =>
    isRametError(error, 'ILLEGAL_STATE'),
  )
  assert.deepEqual(
    engine.context.operations.list().map(({ kind }) => kind),
    ['vm.create'],
  )
})
