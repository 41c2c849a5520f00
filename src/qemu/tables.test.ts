import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseRamBlocks } from './ram-blocks.ts'
import { chooseMachineType } from './version.ts'

const head = '              Block Name    PSize              Offset               Used              Total'
const row = (name: string, used: string, total = used) =>
  `${name.padStart(24)}    4 KiB  0x0000000000000000 ${used} ${total}`

test('RAM blocks of QEMU 7.2, and of one that adds columns', () => {
  const old = [
    head,
    row('mem', '0x0000000010002000'),
    row('/rom@etc/acpi/tables', '0x0000000000020000', '0x0000000000200000'),
  ]
  const wanted = [
    { name: 'mem', usedBytes: 0x10002000 },
    { name: '/rom@etc/acpi/tables', usedBytes: 0x20000 },
  ]
  assert.deepEqual(parseRamBlocks(`${old.join('\r\n')}\r\n`), wanted)
  const later = [`${head}                HVA  RO`, ...old.slice(1).map((line) => `${line} 0x00007f0000000000 rw`)]
  assert.deepEqual(parseRamBlocks(later.join('\n')), wanted)
})

test('blocks without a name take no part; nonsense is refused', () => {
  const mem = row('mem', '0x0000000010002000')
  assert.equal(parseRamBlocks([head, mem, row('', '0x0000000000001000')].join('\n')).length, 1)
  const bad = [
    '',
    'unknown command',
    head,
    [head, mem, mem].join('\n'),
    [head, row('mem', '0x0000000000000000')].join('\n'),
    [head, row('mem', '0x0000000000000123')].join('\n'),
    [head, row('mem', '0xffffffffffffffff')].join('\n'),
    [head, row('mem', '0x0000000000002000', '0x0000000000001000')].join('\n'),
    [head, mem, 'junk'].join('\n'),
    [head, ...Array.from({ length: 300 }, (_, n) => row(`b${n}`, '0x0000000000001000'))].join('\n'),
  ]
  for (const text of bad) assert.throws(() => parseRamBlocks(text), { code: 'QMP_FAILED' }, text)
})

test('machine types: the newest pinned that there is', () => {
  assert.equal(chooseMachineType(['pc-q35-7.1', 'pc-q35-10.0', 'pc-q35-7.2']), 'pc-q35-7.2')
  assert.throws(() => chooseMachineType(['pc-q35-10.0']), { code: 'HOST_UNFIT' })
})
