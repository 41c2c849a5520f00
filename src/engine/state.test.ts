import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type VmState, vmStates } from '../api/vm.ts'
import { illegal, liveStates, next, type VmAction } from './state.ts'

const actions: VmAction[] = [
  'start',
  'started',
  'pause',
  'paused',
  'resume',
  'capture',
  'capture-paused',
  'stop',
  'stopped',
  'kill',
  'failed',
  'remove',
]

test('every state but removing leads somewhere, and every live state can be killed and can fail', () => {
  for (const state of vmStates) {
    const reachable = actions.map((action) => next(state, action)).filter((to) => to !== undefined)
    assert.ok(reachable.length > 0, state)
    if (!liveStates.has(state)) continue
    assert.equal(next(state, 'kill'), 'stopping', `${state} can be killed`)
    assert.equal(next(state, 'failed'), 'failed', `${state} can fail`)
  }
})

test('nothing comes back from removing', () => {
  for (const action of actions) assert.ok([undefined, 'removing'].includes(next('removing', action)))
})

test('whatever happens to a vm, it can still be removed', () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...actions), { maxLength: 40 }), (sequence) => {
      let state: VmState = 'created'
      for (const action of sequence) state = next(state, action) ?? state
      for (const action of ['kill', 'stopped', 'remove'] as const) state = next(state, action) ?? state
      assert.equal(state, 'removing')
    }),
  )
})

test('an illegal action is a conflict that names the state and a way out', () => {
  const error = illegal('web', 'stopped', 'pause')
  assert.equal(error.code, 'ILLEGAL_STATE')
  assert.match(error.message, /web: it is stopped/)
  assert.match(error.remediation, /ramet start web/)
})
