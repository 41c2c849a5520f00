import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { isRunning, readStat, signalProcess, waitForExit } from './process-identity.ts'
import { asUser, spawnDetached } from './spawn-detached.ts'

const root = process.getuid?.() === 0

test('the process has a session of its own, only the environment given, and talks over an extra descriptor', async () => {
  const { identity, streams } = await spawnDetached({
    command: '/bin/sh',
    args: ['-c', 'read line <&3; env | sort >&3; echo "$line" >&3'],
    env: { ONLY: 'this' },
    stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
  })
  const session = readFileSync(`/proc/${identity.pid}/stat`, 'utf8').split(') ')[1]?.split(' ')[3]
  assert.equal(Number(session), identity.pid)
  const stream = streams[3]
  assert.ok(stream)
  assert.deepEqual(streams.slice(0, 3), [undefined, undefined, undefined])
  stream.write('hello\n')
  let text = ''
  stream.on('data', (chunk) => {
    text += chunk
  })
  await once(stream, 'end')
  assert.match(text, /^ONLY=this\n/)
  assert.match(text, /hello\n$/)
  assert.doesNotMatch(text, /HOME=/)
})

test('a program that ends at once is identified, and its exit is still to be heard', async () => {
  for (let round = 0; round < 20; round += 1) {
    const { identity, child } = await spawnDetached({ command: '/bin/false', args: [] })
    const [exitCode] = await once(child, 'exit')
    assert.equal(exitCode, 1)
    assert.equal(isRunning(identity), false)
  }
})

test('a missing program is a refusal with a remedy', async () => {
  await assert.rejects(spawnDetached({ command: 'no-such-program-here', args: [] }), { code: 'HOST_UNFIT' })
})

test('supplementary groups go through setpriv', () => {
  assert.deepEqual(asUser({ command: 'x', args: ['-y'], user: { uid: 7, gid: 8, groups: [9, 10] } }), {
    command: 'setpriv',
    args: ['--reuid=7', '--regid=8', '--groups=9,10', '--inh-caps=-all', '--', 'x', '-y'],
  })
  assert.deepEqual(asUser({ command: 'x', args: [], argv0: 'z', user: { uid: 7, gid: 8 } }), {
    command: 'x',
    args: [],
    argv0: 'z',
    uid: 7,
    gid: 8,
  })
})

for (const groups of [[], [12345]]) {
  test(`as root the process runs as another user, groups: ${groups.length}`, async () => {
    const user = root
      ? { uid: 65534, gid: 65534, groups }
      : { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }
    const { identity, streams } = await spawnDetached({
      command: '/bin/sh',
      args: ['-c', 'cat /proc/self/status >&3; exec sleep 60'],
      stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
      user,
    })
    let text = ''
    for await (const chunk of streams[3] ?? []) {
      text += chunk
      if (text.includes('nonvoluntary')) break
    }
    assert.match(text, new RegExp(`^Uid:\\t${user.uid}\\t${user.uid}\\t${user.uid}\\t${user.uid}$`, 'm'))
    if (root) assert.match(text, new RegExp(`^Groups:\\t${groups.join(' ')} ?$`, 'm'))
    assert.match(text, root ? /^CapEff:\t0+$/m : /CapEff/)
    assert.equal(isRunning(identity), true)
    assert.notEqual(readStat(identity.pid)?.state, 'Z')
    signalProcess(identity, 'SIGKILL')
    await waitForExit(identity)
  })
}
