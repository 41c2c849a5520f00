import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ConsoleSweep } from './console-sweep.ts'
import type { VmRuntime } from './vm-runtime.ts'

/** A runtime of which only the console is looked at. */
function runtimeOf(drain: () => Promise<void>): VmRuntime {
  return { console: { drain }, qemu: {} } as unknown as VmRuntime
}

test('every console is read, also behind one that cannot be', async () => {
  const read: string[] = []
  const runtimes = [
    runtimeOf(async () => {
      read.push('first')
      throw new Error('QEMU is going')
    }),
    runtimeOf(async () => void read.push('second')),
  ]
  await new ConsoleSweep({ list: () => runtimes }).sweep()
  assert.deepEqual(read, ['first', 'second'])
})

test('a round that takes long is not joined by another', async () => {
  let rounds = 0
  const held = Promise.withResolvers<void>()
  const sweep = new ConsoleSweep({
    list: () => [
      runtimeOf(async () => {
        rounds += 1
        await held.promise
      }),
    ],
  })
  const first = sweep.sweep()
  await sweep.sweep()
  held.resolve()
  await first
  assert.equal(rounds, 1)
})
