import assert from 'node:assert/strict'
import { Socket } from 'node:net'
import { test } from 'node:test'
import { sendWithDescriptor } from './pass-descriptor.ts'

// That a descriptor arrives is tested with the one who gets it: src/qemu/background-snapshot.test.ts.
test('a socket that is closed is an error of ours', () => {
  assert.throws(() => sendWithDescriptor(new Socket(), Buffer.from('x'), 0), { code: 'INTERNAL' })
})
