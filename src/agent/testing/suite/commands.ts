import assert from 'node:assert/strict'
import { guestErrno } from '../../guest-error.ts'
import { forgetProcess, listProcesses } from '../../proc.ts'
import { AgentProcess } from '../../process.ts'
import { runCommand } from '../../run-command.ts'
import { agentTest, type StartAgent } from './context.ts'

/** Commands: what they write, how they end, and how they are found again. */
export function commandSuite(agent: string, start: StartAgent): void {
  agentTest(
    `${agent}: a command's output, environment, directory and exit code`,
    start,
    async ({ open, directory }) => {
      const session = await open()
      const result = await runCommand(session, {
        args: ['/bin/sh', '-c', 'echo "$GREETING from $PWD"; echo oops >&2; exit 7'],
        env: { GREETING: 'hello' },
        cwd: directory,
      })
      assert.deepEqual(result.exit, { exitCode: 7 })
      assert.equal(result.ok, false)
      assert.equal(result.stdout.toString(), `hello from ${directory}\n`)
      assert.equal(result.stderr.toString(), 'oops\n')
    },
  )

  agentTest(`${agent}: a command that a signal ends`, start, async ({ open }) => {
    const session = await open()
    const process = await AgentProcess.start(session, { args: ['/bin/sleep', '60'] })
    await process.signal('SIGTERM')
    assert.deepEqual(await process.exit, { signal: 15, signalName: 'SIGTERM' })
  })

  agentTest(`${agent}: a program that is not there`, start, async ({ open }) => {
    const session = await open()
    await assert.rejects(AgentProcess.start(session, { args: ['/no/such/program'] }), (error) => {
      assert.equal(guestErrno(error), 'ENOENT')
      return true
    })
  })

  agentTest(`${agent}: input goes in, output comes out, the excess is dropped`, start, async ({ open }) => {
    const session = await open()
    const input = Buffer.alloc(600_000, 'abcdefg')
    const whole = await runCommand(session, { args: ['/bin/cat'], input })
    assert(whole.stdout.equals(input))
    assert.equal(whole.truncated, false)
    const part = await runCommand(session, { args: ['/bin/cat'], input, outputBytes: 1000 })
    assert(part.stdout.equals(input.subarray(0, 1000)))
    assert.equal(part.truncated, true)
  })

  agentTest(`${agent}: a command that takes too long is killed`, start, async ({ open }) => {
    const session = await open()
    const run = runCommand(session, { args: ['/bin/sleep', '60'], timeoutMs: 100 })
    await assert.rejects(run, { code: 'TIMEOUT' })
    const [process] = await listProcesses(session)
    assert(process !== undefined)
    const attached = await AgentProcess.attach(session, { processId: process.processId })
    assert.deepEqual(await attached.exit, { signal: 9, signalName: 'SIGKILL' })
  })

  agentTest(`${agent}: a detached process is listed, and attaching replays its output`, start, async ({ open }) => {
    const first = await open()
    const args = ['/bin/sh', '-c', 'echo before; read line; echo "after $line"']
    const process = await AgentProcess.start(first, { args, tag: 'mine', detached: true })
    for await (const item of process.output) if (item.kind === 'data') break
    await process.detach()

    const second = await open()
    const [found] = await listProcesses(second)
    assert.equal(found?.tag, 'mine')
    assert.equal(found?.state, 'running')
    assert.equal(found?.detached, true)
    assert.equal(found?.attached, false)
    assert.deepEqual(found?.args, args)
    const again = await AgentProcess.attach(second, { processId: process.processId })
    assert.equal(again.startOffsets.stdout, 0)
    await again.writeStdin(Buffer.from('noon\n'))
    let text = ''
    for await (const item of again.output) if (item.kind === 'data' && item.channel === 1) text += item.bytes.toString()
    assert.equal(text, 'before\nafter noon\n')
    assert.deepEqual(await again.exit, { exitCode: 0 })
    await forgetProcess(second, process.processId)
    assert.deepEqual(await listProcesses(second), [])
  })

  agentTest(`${agent}: version 1 learns the end of a command by asking`, start, async ({ open }) => {
    const session = await open({ versionMin: 1, versionMax: 1 })
    assert.equal(session.version, 1)
    const result = await runCommand(session, { args: ['/bin/sh', '-c', 'echo one; exit 3'] })
    assert.equal(result.stdout.toString(), 'one\n')
    assert.deepEqual(result.exit, { exitCode: 3 })
    await assert.rejects(session.request('watch', { path: '/tmp' }), (error) => guestErrno(error) === 'ENOSYS')
  })
}
