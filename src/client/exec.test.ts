import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { patternByte } from '../server/testing/fake-process.ts'
import { Harness } from '../server/testing/harness.ts'
import { CommandExitError, Ramet, RametApiError, type Vm } from './index.ts'
import { FlakyProxy } from './testing/flaky-proxy.ts'
import { until } from './testing/until.ts'

async function makeVm(harness: Harness, socketPath = harness.server.socketPath): Promise<Vm> {
  return await new Ramet({ socketPath }).vms.create({ image: 'micro', name: 'box' })
}

function assertPattern(chunks: Uint8Array[], length: number): void {
  const all = Buffer.concat(chunks)
  assert.equal(all.length, length)
  const wrong = all.findIndex((byte, position) => byte !== patternByte(position))
  assert.equal(wrong, -1, `byte ${wrong} is wrong`)
}

test('a command is run, and its output and exit code come back', async () => {
  await using harness = await Harness.start()
  const vm = await makeVm(harness)
  const seen: string[] = []
  const result = await vm.commands.run(['echo', 'hello'], { onStdout: (text) => void seen.push(text) })
  assert.deepEqual(result, { exitCode: 0, stdout: 'hello\n', stderr: '', truncated: false })
  assert.equal(seen.join(''), 'hello\n')
})

test('a failing command throws what it said, unless that is not wanted', async () => {
  await using harness = await Harness.start()
  const vm = await makeVm(harness)
  await assert.rejects(
    vm.commands.run(['exit', '3']),
    (error) => error instanceof CommandExitError && error.exitCode === 3,
  )
  assert.equal((await vm.commands.run(['exit', '3'], { throwOnFailure: false })).exitCode, 3)
  await assert.rejects(
    vm.commands.run(['no-such-program']),
    (error) => error instanceof RametApiError && error.code === 'GUEST_REFUSED',
  )
})

test('a signal is told as a shell tells it', async () => {
  await using harness = await Harness.start()
  const vm = await makeVm(harness)
  const handle = await vm.commands.run(['sleep'], { background: true })
  assert.equal(await vm.commands.kill(handle.execId, { killSignal: 'SIGTERM' }), true)
  const result = await handle.wait({ throwOnFailure: false })
  assert.deepEqual([result.exitCode, result.signal], [143, 'SIGTERM'])
  assert.equal(await vm.commands.kill('exec-none'), false)
})

test('input larger than the window arrives whole', async () => {
  await using harness = await Harness.start()
  const vm = await makeVm(harness)
  const input = Buffer.alloc(1_000_000, 'abcdefg')
  const result = await vm.commands.run(['cat'], { stdin: input })
  assert.equal(result.stdout.length, input.length)
  assert.ok(Buffer.from(result.stdout).equals(input))
})

test('a slow reader holds the command back instead of filling memory', async () => {
  await using harness = await Harness.start()
  const vm = await makeVm(harness)
  let waiting: (() => void) | undefined
  let first: () => void = () => {}
  const begun = new Promise<void>((resolve) => {
    first = resolve
  })
  let seenBytes = 0
  const running = vm.commands.run(['bytes', '1000000'], {
    captureBytes: 0,
    onStdoutBytes: async (data) => {
      seenBytes += data.length
      first()
      if (seenBytes < 1_000_000 && waiting === undefined) await new Promise<void>((resolve) => (waiting = resolve))
    },
  })
  await begun
  await vm.commands.list()
  const [process] = harness.engine.processes.values()
  assert.ok((process?.info().offsets.stdout ?? 0) <= 2 * 64 * 1024, 'no more than a window ahead')
  waiting?.()
  const result = await running
  assert.equal(seenBytes, 1_000_000)
  assert.equal(result.truncated, true)
})

test('broken connections lose and double no byte, of output nor of input', async () => {
  await using harness = await Harness.start()
  const path = join(harness.folder, 'proxy.sock')
  await using proxy = await FlakyProxy.start(path, harness.server.socketPath)
  const vm = await makeVm(harness, path)
  const chunks: Uint8Array[] = []
  proxy.budgets.push(1, 150, 9_000, 70_001, 300_000, 200, 12_345)
  await vm.commands.run(['bytes', '2000000'], { captureBytes: 0, onStdoutBytes: (data) => void chunks.push(data) })
  assertPattern(chunks, 2_000_000)
  assert.equal(harness.engine.processes.size, 1, 'one process, whatever the connections did')

  proxy.budgets.push(500, 20_000, 90_000, 30)
  const input = Buffer.from(Array.from({ length: 400_000 }, (_, position) => patternByte(position)))
  const echoed: Uint8Array[] = []
  await vm.commands.run(['cat'], { stdin: input, captureBytes: 0, onStdoutBytes: (data) => void echoed.push(data) })
  assertPattern(echoed, 400_000)
})

test('a command survives a restart of the daemon', async () => {
  const before = await Harness.start()
  const { engine, folder } = before
  let after: Harness | undefined
  try {
    const vm = await makeVm(before)
    const chunks: Uint8Array[] = []
    let restart: Promise<void> | undefined
    await vm.commands.run(['bytes', '500000'], {
      captureBytes: 0,
      onStdoutBytes: (data) => {
        chunks.push(data)
        restart ??= (async () => {
          await before.server.close()
          after = await Harness.start({ engine, folder })
        })()
      },
    })
    await restart
    assertPattern(chunks, 500_000)
  } finally {
    await after?.[Symbol.asyncDispose]()
    await before[Symbol.asyncDispose]()
  }
})

test('the guest link breaking for a moment is survived too', async () => {
  await using harness = await Harness.start()
  const vm = await makeVm(harness)
  const handle = await vm.commands.start(['cat'], { stdin: true })
  await handle.sendStdin('one ')
  harness.engine.sessions.at(-1)?.sever()
  await handle.sendStdin('two')
  handle.closeStdin()
  assert.equal((await handle.wait()).stdout, 'one two')
  assert.ok(harness.engine.sessions.length >= 2)
})

test('an abort ends the command and rejects with the reason', async () => {
  await using harness = await Harness.start()
  const vm = await makeVm(harness)
  const controller = new AbortController()
  const running = vm.commands.run(['sleep'], { signal: controller.signal, execId: 'mine' })
  const session = await until(() => harness.engine.sessions[0])
  controller.abort(new RangeError('enough'))
  await assert.rejects(running, RangeError)
  assert.equal(await until(() => session.released), 'closed')
})

test('a background command goes on when nobody listens, and is attached to again', async () => {
  await using harness = await Harness.start()
  const vm = await makeVm(harness)
  const handle = await vm.commands.run(['cat'], { background: true, stdin: true })
  await handle.sendStdin('kept')
  await handle.disconnect()
  assert.equal((await vm.commands.list())[0]?.state, 'running')
  const again = await vm.commands.connect(handle.execId)
  again.closeStdin()
  assert.equal((await again.wait()).exitCode, 0)
  await assert.rejects(
    vm.commands.connect('exec-none'),
    (error) => error instanceof RametApiError && error.status === 404,
  )
})

test('a terminal shows, takes input, and is resized', async () => {
  await using harness = await Harness.start()
  const vm = await makeVm(harness)
  const shown: Uint8Array[] = []
  const terminal = await vm.pty.create({
    command: ['cat'],
    cols: 100,
    rows: 30,
    onData: (data) => void shown.push(data),
  })
  await vm.pty.sendInput(terminal.execId, 'typed')
  await vm.pty.resize(terminal.execId, { cols: 120, rows: 40 })
  const process = harness.engine.processes.get(terminal.execId)
  assert.deepEqual(await until(() => process?.resized), { cols: 120, rows: 40 })
  assert.equal(await vm.pty.kill(terminal.execId), true)
  await terminal.wait({ throwOnFailure: false })
  assert.equal(Buffer.concat(shown).toString(), 'typed')
})
