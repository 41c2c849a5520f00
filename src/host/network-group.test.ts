import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { confineNetwork, inNetworkGroup, removeNetworkGroup, requireRoot, userNetworkFinding } from './network-group.ts'
import { egressProgram, forbiddenNetworks } from './packet-filter.ts'
import { findProgram } from './probe-storage.ts'
import { signalProcess, waitForExit } from './process-identity.ts'
import { spawnDetached } from './spawn-detached.ts'
import { spawnGated } from './start-gate.ts'

const isRoot = process.geteuid?.() === 0
const nobody = 65_534

function asNobody<T>(act: () => T): T {
  process.seteuid?.(nobody)
  try {
    return act()
  } finally {
    process.seteuid?.(0)
  }
}

describe('the control group of user networks', { skip: isRoot ? false : 'needs root' }, () => {
  it('is refused to who is not root, in words that say what to do', () => {
    asNobody(() => {
      assert.throws(() => requireRoot(), { code: 'PRIVILEGE' })
      assert.throws(() => confineNetwork(process.pid), { code: 'PRIVILEGE' })
      const finding = userNetworkFinding()
      assert.equal(finding.level, 'slow')
      assert.match(finding.finding, findProgram('passt') === undefined ? /not installed/ : /is refused/)
      assert.notEqual(finding.remedy, '')
    })
  })

  it('takes a process in before its first instruction, and goes with the last', async () => {
    const name = `ramet-network-test-${process.pid}`
    const { identity } = await spawnGated(
      spawnDetached,
      { command: 'sleep', args: ['60'] },
      ({ identity: waiting }) => {
        confineNetwork(waiting.pid, name)
      },
    )
    assert.ok(inNetworkGroup(identity.pid, name))
    await removeNetworkGroup(name)
    assert.ok(inNetworkGroup(identity.pid, name), 'a group in use stays')
    signalProcess(identity, 'SIGKILL')
    await waitForExit(identity)
    await removeNetworkGroup(name)
    const { identity: other } = await spawnDetached({ command: 'sleep', args: ['60'] })
    assert.equal(inNetworkGroup(other.pid, name), false)
    signalProcess(other, 'SIGKILL')
    await waitForExit(other)
  })

  it('is not entered by a process that was not to start after all', async () => {
    const refused = new Error('no')
    let pid = 0
    const starting = spawnGated(spawnDetached, { command: 'sleep', args: ['60'] }, ({ identity }) => {
      pid = identity.pid
      throw refused
    })
    await assert.rejects(starting, refused)
    assert.equal(inNetworkGroup(pid), false)
  })
})

it('has every conditional jump of the filter end in its last two instructions', () => {
  const program = egressProgram()
  const count = program.length / 8
  const jumps = Array.from({ length: count }, (_, at) => program.subarray(at * 8, at * 8 + 8)).flatMap((code, at) =>
    code[0] === 0x15 || code[0] === 0x55 ? [at + 1 + code.readInt16LE(2)] : [],
  )
  assert.equal(jumps.length, 3 + forbiddenNetworks.length)
  for (const target of jumps) assert.equal(target, count - 2)
})
