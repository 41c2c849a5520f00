import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { connect } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { CommandExitError, type FileEvent, type Template, type Vm } from '../src/client/index.ts'
import { Host } from './support/host.ts'
import { echoThrough } from './support/tcp.ts'

const MiB = 1024 * 1024

describe('in a vm', () => {
  let host: Host
  let template: Template
  let vm: Vm

  before(async () => {
    host = await Host.start()
    template = await host.template('exec', async (parent) => {
      await parent.commands.run(
        'for n in 1 2 3; do echo before $n; done; while read line; do echo "after $line"; done',
        {
          background: true,
          execId: 'talker',
          stdin: true,
        },
      )
      await parent.commands.run('nc -ll -p 7 -e cat', { background: true, execId: 'echo-server' })
    })
    const [child] = await template.forkAll({ names: ['guest'], environment: { FROM_FORK: 'yes' } })
    assert.ok(child)
    vm = child
  })
  after(() => host.close())

  it('a command has its own output, error output, environment, directory, user and status', async () => {
    const result = await vm.commands.run('echo out; echo err >&2; echo $GIVEN $FROM_FORK; pwd; id -u; exit 7', {
      env: { GIVEN: 'a b' },
      cwd: '/etc',
      user: 'nobody',
      throwOnFailure: false,
    })
    const uid = (await vm.commands.run("sed -n 's/^nobody:[^:]*:\\([0-9]*\\):.*/\\1/p' /etc/passwd")).stdout.trim()
    assert.deepEqual(result, {
      exitCode: 7,
      stdout: `out\na b yes\n/etc\n${uid}\n`,
      stderr: 'err\n',
      truncated: false,
    })
    assert.notEqual(uid, '0')
  })

  it('a command that fails is an error with its status, and one that is signalled says by what', async () => {
    await assert.rejects(
      vm.commands.run('echo why >&2; exit 3'),
      (error) => error instanceof CommandExitError && error.exitCode === 3 && error.stderr === 'why\n',
    )
    const handle = await vm.commands.run(['sleep', '1000'], { background: true })
    await handle.kill('SIGTERM')
    assert.deepEqual(await handle.wait({ throwOnFailure: false }), {
      exitCode: 143,
      signal: 'SIGTERM',
      stdout: '',
      stderr: '',
      truncated: false,
    })
    await assert.rejects(vm.commands.run(['/no/such/program']), { code: 'GUEST_REFUSED' })
  })

  it('the command line passes on input, outputs and the status of the guest', async () => {
    const result = await host.cli(['exec', '-i', 'guest', '--', 'sh', '-c', 'tr a-z A-Z; echo oops >&2; exit 42'], {
      stdin: 'shout',
    })
    assert.deepEqual(result, { code: 42, stdout: 'SHOUT', stderr: 'oops\n' })
  })

  it('a terminal has a size, which can be changed', async () => {
    let shown = ''
    let told: (() => void) | undefined
    const terminal = await vm.pty.create({
      cols: 100,
      rows: 30,
      command: 'stty size; read line; stty size; test -t 0 && echo terminal',
      onData: (data) => {
        shown += Buffer.from(data).toString()
        told?.()
      },
    })
    while (!shown.includes('30 100')) await new Promise<void>((resolve) => (told = resolve))
    await terminal.resize({ cols: 132, rows: 50 })
    await terminal.sendStdin('\n')
    await terminal.wait()
    assert.match(shown, /30 100[\s\S]*50 132[\s\S]*terminal/)
  })

  it('a process that the parent started is listed in its child, and attached to with what it said before', async () => {
    const listed = (await vm.commands.list()).map(({ execId, state }) => `${execId} ${state}`)
    assert.ok(listed.includes('talker running'), listed.join(', '))
    let shown = ''
    let told: (() => void) | undefined
    const handle = await vm.commands.connect('talker', {
      onStdout: (text) => {
        shown += text
        told?.()
      },
    })
    await handle.sendStdin('the fork\n')
    while (!shown.includes('after the fork')) await new Promise<void>((resolve) => (told = resolve))
    assert.equal(shown, 'before 1\nbefore 2\nbefore 3\nafter the fork\n')
    await handle.disconnect()
  })

  it('output of 100 MiB is whole although the daemon is killed in the middle, three times', async () => {
    const block = randomBytes(MiB)
    await vm.files.write('/tmp/block', block)
    const expected = createHash('sha256')
    for (let number = 1; number <= 100; number += 1) expected.update(`${number}\n`).update(block)
    const seen = createHash('sha256')
    let seenBytes = 0
    let nextKillBytes = 15 * MiB
    const restarts: Promise<void>[] = []
    const result = await vm.commands.run('for n in $(seq 100); do echo $n; cat /tmp/block; done', {
      captureBytes: 0,
      onStdoutBytes: (data) => {
        seen.update(data)
        seenBytes += data.length
        if (seenBytes < nextKillBytes || restarts.length === 3) return
        nextKillBytes += 30 * MiB
        restarts.push(host.kill9().then(() => host.restart()))
      },
    })
    await Promise.all(restarts)
    assert.equal(restarts.length, 3)
    assert.equal(seenBytes, 100 * MiB + 292, 'neither lost nor doubled')
    assert.equal(seen.digest('hex'), expected.digest('hex'))
    assert.equal(result.exitCode, 0)
  })

  it('input of some MiB arrives whole', async () => {
    const input = randomBytes(5 * MiB)
    const { stdout } = await vm.commands.run('sha256sum', { stdin: input })
    assert.equal(stdout.split(' ')[0], createHash('sha256').update(input).digest('hex'))
  })

  it('files are written, read, listed, moved and removed', async () => {
    const content = randomBytes(3 * MiB + 17)
    await vm.files.write('/tmp/files/deep/large', content, { mode: 0o640 })
    const info = await vm.files.getInfo('/tmp/files/deep/large')
    assert.equal(info.sizeBytes, content.length)
    assert.deepEqual(Buffer.from(await vm.files.read('/tmp/files/deep/large', { format: 'bytes' })), content)
    const part = await vm.files.read('/tmp/files/deep/large', { format: 'bytes', offset: 1000, length: 24 })
    assert.deepEqual(Buffer.from(part), content.subarray(1000, 1024))
    assert.equal(await vm.files.makeDir('/tmp/files/other'), true)
    await vm.files.rename('/tmp/files/deep/large', '/tmp/files/other/moved')
    assert.deepEqual(
      (await vm.files.list('/tmp/files')).map(({ name }) => name),
      ['deep', 'other'],
    )
    assert.equal(await vm.files.exists('/tmp/files/deep/large'), false)
    await assert.rejects(vm.files.read('/tmp/files/none'), { code: 'NOT_FOUND' })
    await vm.files.remove('/tmp/files', { recursive: true })
    assert.equal(await vm.files.exists('/tmp/files'), false)
  })

  it('changes in a directory are told as they happen', async () => {
    await vm.files.makeDir('/tmp/watched')
    const events: FileEvent[] = []
    let told: (() => void) | undefined
    const watch = await vm.files.watchDir('/tmp/watched', (event) => {
      events.push(event)
      told?.()
    })
    await vm.commands.run('touch /tmp/watched/new; mv /tmp/watched/new /tmp/watched/newer; rm /tmp/watched/newer')
    while (!events.some(({ type, path }) => type === 'removed' && path.endsWith('newer'))) {
      await new Promise<void>((resolve) => (told = resolve))
    }
    await watch.stop()
    assert.ok(events.some(({ type, path }) => type === 'created' && path.endsWith('new')))
  })

  it('a port is published on loopback, also after the daemon was killed', async () => {
    const { hostAddress, hostPort } = await vm.publish({ guestPort: 7 })
    assert.equal(hostAddress, '127.0.0.1')
    const sent = randomBytes(MiB)
    assert.deepEqual(await echoThrough(connect(hostPort, hostAddress), sent), sent)
    await host.kill9()
    await host.restart()
    const [port] = await vm.ports()
    assert.equal(port?.hostPort, hostPort)
    assert.deepEqual(await echoThrough(connect(hostPort, hostAddress), sent), sent)
    await vm.unpublish(7)
    assert.deepEqual(await vm.ports(), [])
  })
})
