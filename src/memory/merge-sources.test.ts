import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Run } from './base.ts'
import { mergeSources } from './merge-sources.ts'

const pages = 40

/** Runs of the set flags, in pages of size 1. */
function runsOf(flags: readonly boolean[]): Run[] {
  const runs: Run[] = []
  flags.forEach((set, page) => {
    const last = runs[runs.length - 1]
    if (!set) return
    if (last !== undefined && last.offsetBytes + last.lengthBytes === page) {
      runs[runs.length - 1] = { offsetBytes: last.offsetBytes, lengthBytes: last.lengthBytes + 1 }
    } else {
      runs.push({ offsetBytes: page, lengthBytes: 1 })
    }
  })
  return runs
}

const flags = fc.array(fc.boolean(), { minLength: pages, maxLength: pages })

test('what the vm has hides the base; nothing is taken twice or left out; the order ascends', () => {
  fc.assert(
    fc.property(flags, flags, (vm, base) => {
      const picked = Array.from({ length: pages }, () => '')
      let end = 0
      for (const piece of mergeSources(runsOf(vm), runsOf(base))) {
        assert.ok(piece.offsetBytes >= end && piece.lengthBytes > 0)
        end = piece.offsetBytes + piece.lengthBytes
        picked.fill(piece.source, piece.offsetBytes, end)
      }
      assert.deepEqual(
        picked,
        picked.map((_, page) => (vm[page] ? 'vm' : base[page] ? 'base' : '')),
      )
    }),
  )
})
