import assert from 'node:assert/strict'
import { once } from 'node:events'
import { chmodSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { pauseGuest, resumeGuest } from '../incoming.ts'
import { counting } from '../testing/counting-firmware.ts'
import { counterPasses, GuestFixture, readCounter } from '../testing/guest-fixture.ts'
import { StreamDecoder } from './decode.ts'

test('the decoder reads what QEMU itself sends', async () => {
  await using fixture = new GuestFixture()
  const parent = await fixture.start()
  await resumeGuest(parent)
  await counterPasses(parent, 10)
  await pauseGuest(parent)
  const counter = await readCounter(parent)
  const words = new Map<string, number>()
  const decoder = new StreamDecoder({
    page(block, offsetBytes, data) {
      words.set(`${block}+${offsetBytes}`, data?.readUInt32LE(0) ?? 0)
    },
  })
  const path = join(parent.dir, 'out.sock')
  const server = createServer().listen(path)
  await once(server, 'listening')
  chmodSync(path, 0o777)
  const accepted = once(server, 'connection')
  await parent.qmp.execute('migrate', { uri: `unix:${path}` })
  const [socket] = (await accepted) as [Socket]
  for await (const chunk of socket) decoder.push(chunk)
  server.close()
  const { machine, blocks, deviceBlob } = decoder.finish()
  assert.equal(machine, fixture.machine.machine)
  assert.equal(blocks.find((block) => block.name === 'mem')?.usedBytes, fixture.machine.memoryBytes)
  assert.equal(words.get(`mem+${counting.counterAddress}`), counter)
  assert.equal(words.get(`mem+${counting.trailAddress + (counter - 1) * 4096}`), counter - 1)
  assert.equal([...words.keys()].filter((key) => key.startsWith('mem+')).length, fixture.machine.memoryBytes / 4096)
  assert.ok(deviceBlob.length > 10_000)
})
