import assert from 'node:assert/strict'
import { test } from 'node:test'
import { UsageError } from '../arguments.ts'
import { parseRestore, restoreArguments, restoreUsage } from './restore-arguments.ts'

test('without options: both guests, all policies, three stores, 512 MiB with a heap of 100', () => {
  const plan = parseRestore({})
  assert.deepEqual(plan.guests, ['fresh', 'fragmented'])
  assert.deepEqual(plan.policies, ['none', 'physical', 'virtual', 'adaptive', 'recorded'])
  assert.deepEqual(plan.storeDelaysMs, [0, 0.2, 1])
  assert.deepEqual([plan.memoryBytes, plan.heapBytes, plan.runs], [512 * 2 ** 20, 100 * 2 ** 20, 20])
})

test('what cannot be meant so is refused by name', () => {
  for (const [name, text] of [
    ['guests', 'old'],
    ['policies', 'auto'],
    ['delays', '-1'],
    ['delays', '1e3'],
    ['delays', '10001'],
    ['heap', '0'],
    ['memory', '256'],
    ['runs', '1.5'],
  ] as const)
    assert.throws(
      () => parseRestore({ [name]: text }),
      (error) => error instanceof UsageError && error.message.includes(`--${name}`),
      `${name} ${text}`,
    )
})

test('help names every option', () => {
  for (const name of Object.keys(restoreArguments)) assert.ok(restoreUsage.includes(`--${name} `), name)
})
