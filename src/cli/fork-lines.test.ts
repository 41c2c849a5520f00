import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parentLine } from './fork-lines.ts'

test('the parent of a fork is told of in one line, with whatever its daemon measured', () => {
  const timings = { captureMs: 30.2, pauseMs: 41.4, freezeMs: 49, totalMs: 700 }
  assert.equal(parentLine('web', { timings }), 'parent paused 41 ms, workload frozen 49 ms')
  assert.equal(
    parentLine('web', {
      timings: { ...timings, pauseMemoryMs: 30.1, pauseDiskMs: 8.9 },
      capture: { deltaBytes: 23 * 1024 * 1024, memory: 'delta' },
    }),
    'parent paused 41 ms (memory 30, disks 8.9), workload frozen 49 ms; 23 MiB of memory given to each child',
  )
  assert.match(
    parentLine('web', { timings, capture: { deltaBytes: 1024 * 1024, memory: 'folded' } }) ?? '',
    /; 1 MiB of memory folded into a base that all children map$/,
  )
})

test('a workload that was not frozen, and a parent that stays paused, are said to be so', () => {
  assert.equal(
    parentLine('web', { timings: { captureMs: 30, pauseMs: 41 } }),
    'parent paused 41 ms, workload not frozen',
  )
  assert.match(parentLine('web', { timings: { captureMs: 30 } }) ?? '', /web is paused .*ramet resume web$/)
})

test('a template has nothing to tell', () => {
  assert.equal(parentLine('warm', { timings: { totalMs: 25 } }), undefined)
})
