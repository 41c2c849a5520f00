import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { isRametError } from '../../../shared/errors.ts'
import { limits } from '../../../shared/limits.ts'
import { AgentProcess } from '../../process.ts'
import { runCommand } from '../../run-command.ts'
import { encodeFields } from '../../wire/fields.ts'
import { frameType } from '../../wire/frame.ts'
import { marker, nonceBytes } from '../../wire/marker.ts'
import { encodePeerFrame } from '../scripted-peer.ts'
import { agentTest, type StartAgent } from './context.ts'

const MiB = 1024 * 1024

/** What survives the loss of connections: output, input, and the agent itself. */
export function survivalSuite(agent: string, start: StartAgent): void {
  agentTest(`${agent}: 100 MiB of output through five cut connections`, start, async ({ open, cutLink }) => {
    const script = `seq 1 20000000 | head -c ${100 * MiB}`
    const expected = await runCommand(await open(), { args: ['/bin/sh', '-c', `${script} | sha256sum`] })
    const { link, proxy } = await cutLink([1_000_003, 20_000_033, 65_599, 33_333_333, 9_999_991])
    const hash = createHash('sha256')
    let offset = 0
    let processId = 0
    for (let done = false; !done; ) {
      const session = await link.openSession()
      const process =
        processId === 0
          ? await AgentProcess.start(session, { args: ['/bin/sh', '-c', script], stdin: false })
          : await AgentProcess.attach(session, { processId, stdoutOffset: offset })
      processId = process.processId
      assert.equal(process.startOffsets.stdout, offset)
      done = await survives(async () => {
        for await (const item of process.output) {
          if (item.kind !== 'data' || item.channel !== 1) continue
          assert.equal(item.offset, offset)
          hash.update(item.bytes)
          offset += item.bytes.length
          process.ack(1, offset)
        }
        assert.deepEqual(await process.exit, { exitCode: 0 })
      })
    }
    assert.equal(offset, 100 * MiB)
    assert.equal(proxy.connectionCount, 6)
    assert.equal(expected.stdout.toString().slice(0, 64), hash.digest('hex'))
  })

  agentTest(`${agent}: 20 MiB of input through four cut connections`, start, async ({ cutLink }) => {
    const input = randomBytes(20 * MiB)
    // The marker in what is sent must reach the process, and nobody else.
    for (const at of [0, 65_530, 1_000_000, 12 * MiB]) marker.copy(input, at)
    const { link, proxy } = await cutLink([700_001, 5_000_011, 65_593, 8_888_887])
    const output: Buffer[] = []
    let processId = 0
    let stdoutOffset = 0
    for (let done = false; !done; ) {
      const session = await link.openSession()
      const process =
        processId === 0
          ? await AgentProcess.start(session, { args: ['/usr/bin/sha256sum'] })
          : await AgentProcess.attach(session, { processId, stdoutOffset })
      processId = process.processId
      done = await survives(async () => {
        await process.writeStdin(input.subarray(process.startOffsets.stdin))
        process.endStdin()
        for await (const item of process.output) {
          if (item.kind !== 'data' || item.channel !== 1) continue
          output.push(Buffer.from(item.bytes))
          stdoutOffset += item.bytes.length
        }
      })
    }
    assert.equal(proxy.connectionCount, 5)
    assert.equal(Buffer.concat(output).toString().slice(0, 64), createHash('sha256').update(input).digest('hex'))
  })

  agentTest(
    `${agent}: input that waits in the guest outlives the stream it came by`,
    start,
    async ({ open, closeLinks, directory }) => {
      const go = join(directory, 'go')
      const first = await open()
      const args = ['/bin/sh', '-c', 'while [ ! -e "$GO" ]; do sleep 0.02; done; exec sha256sum']
      const process = await AgentProcess.start(first, { args, env: { GO: go } })
      const { processId } = process
      const input = randomBytes(MiB)
      // The pipe is full and the agent holds more: this much can be accepted, though nobody reads.
      await process.writeStdin(input.subarray(0, 200_000))
      await first.request('ping')
      closeLinks()

      const session = await open()
      const again = await AgentProcess.attach(session, { processId })
      assert.equal(again.startOffsets.stdin, 200_000)
      const written = again.writeStdin(input.subarray(again.startOffsets.stdin))
      await session.request('ping')
      await writeFile(go, '')
      await written
      again.endStdin()
      let text = ''
      for await (const item of again.output) if (item.kind === 'data') text += item.bytes.toString()
      assert.equal(text.slice(0, 64), createHash('sha256').update(input).digest('hex'))
    },
  )

  agentTest(`${agent}: a consumer that acknowledges nothing holds the process back`, start, async ({ open }) => {
    const session = await open()
    const process = await AgentProcess.start(session, { args: ['/usr/bin/yes'], stdin: false })
    let received = 0
    const items = process.output[Symbol.asyncIterator]()
    while (received < limits.streamWindowBytes) {
      const { value } = await items.next()
      if (value?.kind === 'data') received += value.bytes.length
    }
    assert.equal(received, limits.streamWindowBytes)
    // A round trip later nothing more has come.
    const next = items.next().then(() => 'more')
    await session.request('ping')
    assert.equal(await Promise.race([next, Promise.resolve('nothing')]), 'nothing')
    process.ack(1, received)
    assert.equal(await next, 'more')
    await process.signal('SIGKILL')
  })

  agentTest(`${agent}: a host that dies at any byte of its opening or its first request`, start, async (context) => {
    const hello = encodePeerFrame({ type: frameType.hello, payload: encodeFields({ versionMin: 1, versionMax: 2 }) })
    const request = encodePeerFrame({ type: frameType.request, stream: 1, payload: encodeFields({ op: 'ping' }) })
    const sent = Buffer.concat([marker, randomBytes(nonceBytes), hello, request])
    for (let cut = 1; cut <= sent.length; cut += cut < 40 ? 1 : 5) {
      await write(context.agentPath, sent.subarray(0, cut))
      const session = await context.open()
      assert.equal(typeof (await session.request('ping')).timeNs, 'bigint')
      context.closeLinks()
    }
  })

  agentTest(`${agent}: an opening in the middle of a frame`, start, async ({ agentPath, open }) => {
    const half = Buffer.alloc(20 + 500, 0x20)
    half.writeUInt32LE(60_000, 0)
    half.writeUInt8(frameType.data, 4)
    half.fill(0, 5, 20)
    half.writeUInt32LE(1, 8)
    marker.copy(half, half.length - 5, 0, 5)
    const socket = connect({ path: agentPath })
    socket.write(half)
    const answer = new Promise<Buffer>((resolve) => socket.once('data', resolve))
    const nonce = randomBytes(nonceBytes)
    const hello = encodePeerFrame({ type: frameType.hello, payload: encodeFields({ versionMin: 1, versionMax: 2 }) })
    socket.write(Buffer.concat([marker, nonce, hello]))
    assert((await answer).subarray(0, 32).equals(Buffer.concat([marker, nonce])))
    socket.destroy()
    await (await open()).request('ping')
  })
}

/** Runs it; false when the link was lost meanwhile. */
async function survives(work: () => Promise<void>): Promise<boolean> {
  try {
    await work()
    return true
  } catch (error) {
    if (isRametError(error, 'AGENT_LINK_LOST')) return false
    throw error
  }
}

/** Connects, writes, and is gone. */
async function write(path: string, bytes: Buffer): Promise<void> {
  const socket = connect({ path })
  socket.on('error', () => {})
  await new Promise<void>((resolve) => socket.write(bytes, () => resolve()))
  await new Promise<void>((resolve) => {
    socket.once('close', () => resolve())
    socket.destroy()
  })
}
