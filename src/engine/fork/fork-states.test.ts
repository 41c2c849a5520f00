import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ForkRequest } from '../../api/fork.ts'
import { type VmState, vmStates } from '../../api/vm.ts'
import { isRametError } from '../../shared/errors.ts'
import { illegal, next } from '../state.ts'
import { TestEngine } from '../testing/test-engine.ts'

/** Why a vm in a state cannot be forked, as the remedy says it; null where it can. */
const refusals: Record<VmState, RegExp | null> = {
  created: /ramet start web/,
  starting: /settled state/,
  running: null,
  pausing: /settled state/,
  paused: /ramet resume web/,
  resuming: /settled state/,
  capturing: /settled state/,
  suspended: /ramet resume web/,
  restoring: /settled state/,
  stopping: /settled state/,
  stopped: /ramet start web/,
  failed: /ramet logs web/,
  removing: /settled state/,
}

test('a vm is captured while it runs, and in no other state', () => {
  const legal = vmStates.filter((state) => next(state, 'capture') !== undefined)
  assert.deepEqual(legal, ['running'])
  assert.deepEqual(
    legal,
    vmStates.filter((state) => refusals[state] === null),
  )
})

for (const [state, remedy] of Object.entries(refusals)) {
  if (remedy === null) continue
  test(`the fork of a vm that is ${state} is a conflict that names the state`, async () => {
    const expected = illegal('web', state as VmState, 'fork')
    assert.match(expected.remediation, remedy)
    await using engine = await TestEngine.open()
    const { id } = await engine.createVm({ name: 'web' })
    const vm = await engine.context.vms.update(id, { state: state as VmState })
    const fork = async () => await (await engine.forks.forkVm(vm, ForkRequest.parse({}))).done
    await assert.rejects(fork, (error) => {
      assert(isRametError(error, 'ILLEGAL_STATE'))
      assert.equal(error.message, `cannot fork web: it is ${state}`)
      assert.deepEqual(error.details, { state, action: 'fork' })
      assert.equal(error.kind.httpStatus, 409)
      assert.equal(error.kind.exitCode, 4)
      return true
    })
    assert.equal(engine.context.vms.find(id).state, state, 'nothing has happened to it')
    assert.equal(engine.context.vms.list().length, 1)
    await engine.context.vms.update(id, { state: 'running' })
  })
}
