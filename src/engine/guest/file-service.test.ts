import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AgentLink } from '../../agent/link.ts'
import { FakeAgent } from '../../agent/testing/fake/agent.ts'
import { systemClock } from '../../shared/clock.ts'
import type { EngineParts } from '../parts.ts'
import type { VmRecord } from '../records.ts'
import { Uses } from '../uses.ts'
import { FileService } from './file-service.ts'

const vm = { id: 'vm-1', name: 'web', state: 'running' } as VmRecord

test('a file of /proc, which says that it has no size, is read whole', async () => {
  await using agent = await FakeAgent.start()
  const link = new AgentLink({ path: agent.path, clock: systemClock })
  try {
    const session = await link.openSession()
    const uses = new Uses()
    const calls = { begin: async () => ({ vm, ...uses.hold(vm.id) }) }
    const runtimes = { session: async () => session, uses }
    const files = new FileService({ runtimes, calls } as unknown as EngineParts)
    const { body, lengthBytes } = await files.read(vm, '/proc/self/status', { offset: 0 })
    assert.equal(uses.isHeld(vm.id), true)
    const pieces: Uint8Array[] = []
    for await (const piece of body) pieces.push(piece)
    const text = Buffer.concat(pieces).toString()
    assert.match(text, /^Name:/)
    assert.equal(text.length, lengthBytes)
    assert.equal(uses.isHeld(vm.id), false, 'it has been read')
  } finally {
    link.close()
  }
})
