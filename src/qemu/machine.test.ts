import assert from 'node:assert/strict'
import { test } from 'node:test'
import { guestMemoryBytes } from './guest-memory.ts'
import { machineArguments } from './machine.ts'
import type { MachineDescription, MachineSeat } from './machine-description.ts'

const MiB = 1024 * 1024

const machine: MachineDescription = {
  machine: 'pc-q35-7.2',
  accelerator: 'tcg',
  cpuCount: 2,
  cpuMaxCount: 4,
  memoryBytes: guestMemoryBytes(256 * MiB),
  memorySlotCount: 2,
  memoryMaxBytes: 1024 * MiB,
  diskCount: 2,
  nicCount: 1,
  sparePortCount: 2,
}
const seat: MachineSeat = {
  boot: { kind: 'kernel', kernelPath: '/k', initrdPath: '/i', append: 'console=ttyS0' },
  memory: { kind: 'anonymous' },
  disks: [{ path: 'disk0.qcow2' }, { path: 'disk1,odd.qcow2', readOnly: true }],
  nics: [{ mac: '52:54:00:00:00:01', network: { kind: 'stream', socketPath: 'net,0.sock' } }],
  generationId: '00000000-0000-4000-8000-000000000001',
  incoming: false,
}

const optionsOf = (args: readonly string[], flag: string) =>
  args.flatMap((arg, index) => (args[index - 1] === flag ? [arg] : []))

/** What device state depends on: everything but paths, descriptors and identity. */
const frozen = (args: readonly string[]) =>
  args.filter(
    (arg, index) =>
      !['-object', '-incoming', '-netdev', '-blockdev'].includes(args[index - 1] ?? '') && arg !== '-incoming',
  )

test('a parent and its child differ in nothing that device state knows of', () => {
  const child: MachineSeat = { ...seat, memory: { kind: 'base' }, incoming: true }
  assert.deepEqual(frozen(machineArguments(machine, child)), frozen(machineArguments(machine, seat)))
})

test('RAM is the same block either way, private both times', () => {
  const [own] = optionsOf(machineArguments(machine, seat), '-object')
  const [based] = optionsOf(machineArguments(machine, { ...seat, memory: { kind: 'base' } }), '-object')
  assert.equal(own, 'memory-backend-ram,id=mem,size=268443648,share=off,merge=off,dump=off,prealloc=off')
  assert.equal(
    based,
    'memory-backend-file,id=mem,size=268443648,share=off,merge=off,dump=off,prealloc=off,mem-path=/proc/self/fd/4',
  )
})

test('no guest has RAM in whole units of 256 KiB', () => {
  for (const asked of [64 * MiB, 100 * MiB + 1, 256 * MiB, 4096 * MiB]) {
    const bytes = guestMemoryBytes(asked)
    assert.ok(bytes >= asked && bytes - asked <= MiB + 8192)
    assert.notEqual(bytes % (256 * 1024), 0)
    assert.equal(bytes % 8192, 0)
  }
  for (const wrong of [0, -1, 63 * MiB, Number.NaN, 2 ** 53])
    assert.throws(() => guestMemoryBytes(wrong), { code: 'INVALID_ARGUMENT' })
})

test('every device on a bus has an address of its own', () => {
  const devices = optionsOf(machineArguments(machine, seat), '-device')
  const onBus = devices.filter((device) => /-pci|pcie-root-port/.test(device))
  const addresses = onBus.map((device) => /,addr=(0x[0-9a-f]+(?:\.\d)?)/.exec(device)?.[1])
  assert.ok(addresses.every((address) => address !== undefined))
  assert.equal(new Set(addresses).size, addresses.length)
  assert.equal(onBus.length, 3 + 2 + 1 + 2)
})

test('the guards stand on every command line', () => {
  for (const incoming of [false, true]) {
    const args = machineArguments(machine, { ...seat, incoming })
    assert.ok(args.includes('-S'))
    assert.equal(args.includes('-incoming'), incoming)
    assert.deepEqual(optionsOf(args, '-sandbox'), [
      'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny',
    ])
    assert.doesNotMatch(args.join(' '), /balloon|virtio-mem|exec:|share=on|-runas|postcopy/)
  }
})

test('commas in paths are quoted', () => {
  const args = machineArguments(machine, seat)
  assert.match(optionsOf(args, '-netdev')[0] ?? '', /addr\.path=net,,0\.sock$/)
  const comma = { ...seat, boot: { kind: 'firmware', biosPath: '/a,b' } } as const
  assert.deepEqual(optionsOf(machineArguments(machine, comma), '-bios'), ['/a,b'])
  const disk = JSON.parse(optionsOf(args, '-blockdev')[1] ?? '{}')
  assert.equal(disk.file.filename, 'disk1,odd.qcow2')
  assert.equal(disk['read-only'], true)
})

test('parts that do not fit are refused', () => {
  const bad: [Partial<MachineDescription>, Partial<MachineSeat>][] = [
    [{ machine: 'q35' }, {}],
    [{ machine: 'pc-q35-7.2,accel=kvm' }, {}],
    [{ cpuCount: 5 }, {}],
    [{ cpuMaxCount: 1000 }, {}],
    [{ memoryBytes: 4096 }, {}],
    [{ memoryMaxBytes: 1 }, {}],
    [{ memoryMaxBytes: machine.memoryBytes }, {}],
    [{ diskCount: 1 }, {}],
    [{}, { nics: [] }],
    [{ sparePortCount: 9 }, {}],
    [{ cpuModel: 'max,+x2apic -incoming exec:x' }, {}],
    [{}, { generationId: 'auto,x=y' }],
    [{}, { nics: [{ mac: '52:54:00:00:00:01,x=y', network: { kind: 'unconnected' } }] }],
  ]
  for (const [description, changes] of bad)
    assert.throws(() => machineArguments({ ...machine, ...description }, { ...seat, ...changes }), {
      code: 'INVALID_ARGUMENT',
    })
})
