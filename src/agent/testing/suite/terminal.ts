import assert from 'node:assert/strict'
import { AgentProcess } from '../../process.ts'
import { agentTest, type StartAgent } from './context.ts'

/** Terminals. Node cannot make any, so this part of the suite is for the real agent alone. */
export function terminalSuite(agent: string, start: StartAgent): void {
  agentTest(`${agent}: a terminal echoes, knows its size, and is told of a new one`, start, async ({ open }) => {
    const session = await open()
    const script = 'stty size; trap "stty size; exit 5" WINCH; echo ready; while :; do read line; done'
    const process = await AgentProcess.start(session, {
      args: ['/bin/sh', '-c', script],
      terminal: { columns: 81, rows: 25 },
    })
    let text = ''
    const until = async (wanted: string) => {
      for (const items = process.output[Symbol.asyncIterator](); !text.includes(wanted); ) {
        const { value, done } = await items.next()
        if (done) break
        if (value.kind === 'data') text += value.bytes.toString()
      }
      assert(text.includes(wanted), `“${wanted}” in “${text}”`)
    }
    await until('25 81\r\nready\r\n')
    await process.writeStdin(Buffer.from('typed\n'))
    await until('typed\r\n')
    await process.resize({ columns: 132, rows: 43 })
    // The shell runs its trap when the read is over, which it may be already: then nobody takes this any more.
    await process.writeStdin(Buffer.from('\n')).catch(() => {})
    await until('43 132\r\n')
    assert.deepEqual(await process.exit, { exitCode: 5 })
  })

  agentTest(`${agent}: a terminal’s interrupt character interrupts`, start, async ({ open }) => {
    const session = await open()
    const process = await AgentProcess.start(session, {
      args: ['/bin/sleep', '60'],
      terminal: { columns: 80, rows: 24 },
    })
    await process.writeStdin(Buffer.from('\u0003'))
    assert.deepEqual(await process.exit, { signal: 2, signalName: 'SIGINT' })
  })
}
