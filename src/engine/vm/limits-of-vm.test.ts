import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ForkRequest } from '../../api/fork.ts'
import { holeBytes } from '../../memory/base.ts'
import { isRametError } from '../../shared/errors.ts'
import { TestEngine } from '../testing/test-engine.ts'
import { checkLimits, vmmOverheadBytes } from './limits-of-vm.ts'

const MiB = 1024 * 1024

test('a memory limit that guest and QEMU could pass is refused, with the least that goes', () => {
  checkLimits({}, 256 * MiB)
  checkLimits({ memoryBytes: 256 * MiB + vmmOverheadBytes }, 256 * MiB)
  assert.throws(
    () => checkLimits({ memoryBytes: 256 * MiB }, 256 * MiB),
    (error) => {
      assert(isRametError(error, 'INVALID_ARGUMENT'))
      assert.equal(error.details.leastBytes, 256 * MiB + vmmOverheadBytes)
      return true
    },
  )
})

test('a child has room for the holes of its base on top of its limit', async () => {
  await using engine = await TestEngine.open()
  const template = await engine.createTemplate()
  const memoryBytes = template.machine.memoryBytes + vmmOverheadBytes
  const request = ForkRequest.parse({ names: ['child'], limits: { memoryBytes } })
  await (await engine.forks.fork(template, request)).done
  const { id } = engine.context.vms.find('child')
  const holes = holeBytes(await engine.parts.bases.of(template))
  assert.ok(holes > 60 * MiB)
  assert.deepEqual(engine.cgroups.groups.get(id), { memoryMaxBytes: memoryBytes + holes })
})

test('limits given to a vm that runs confine it, those taken away are lifted, and the group goes with it', async () => {
  await using engine = await TestEngine.open()
  const { id, machine } = await engine.createVm()
  assert.equal(engine.cgroups.groups.has(id), false)
  const memoryBytes = machine.memoryBytes + vmmOverheadBytes
  await engine.vms.update(id, { limits: { memoryBytes, cpuCores: 1 } })
  assert.deepEqual(engine.cgroups.groups.get(id), { memoryMaxBytes: memoryBytes, cpuCores: 1 })
  await engine.vms.update(id, { limits: {} })
  assert.deepEqual(engine.cgroups.groups.get(id), {})
  await (await engine.vms.kill(id)).done
  assert.equal(engine.cgroups.groups.has(id), false)
  assert.deepEqual(engine.openOwners(), [])
})
