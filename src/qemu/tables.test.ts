import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseRamBlocks } from './ram-blocks.ts'
import { chooseMachineType, parseMachineTypes, parseQemuVersion } from './version.ts'

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

test('versions', () => {
  const debian = 'QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright (c) 2003-2022\n'
  assert.partialDeepStrictEqual(parseQemuVersion(debian), { major: 7, minor: 2, micro: 22 })
  assert.partialDeepStrictEqual(parseQemuVersion('QEMU emulator version 10.0'), { major: 10, minor: 0, micro: 0 })
  for (const wrong of ['', 'QEMU emulator version 6.2.0', 'QEMU emulator version 7.1.9', 'bash: no such file'])
    assert.throws(() => parseQemuVersion(wrong), { code: 'HOST_UNFIT' }, wrong)
})

test('machine types: the newest pinned that there is', () => {
  const help = [
    'Supported machines are:',
    'q35                  Standard PC (Q35 + ICH9, 2009) (alias of pc-q35-10.0)',
    'pc-q35-10.0          Standard PC (Q35 + ICH9, 2009)',
    'pc-q35-7.2           Standard PC (Q35 + ICH9, 2009)',
    'pc-q35-7.1           Standard PC (Q35 + ICH9, 2009)',
    'pc-i440fx-7.2        Standard PC (i440FX + PIIX, 1996)',
  ]
  const types = parseMachineTypes(help.join('\n'))
  assert.deepEqual(types, ['pc-q35-7.1', 'pc-q35-7.2', 'pc-q35-10.0'])
  assert.equal(chooseMachineType(types), 'pc-q35-7.2')
  assert.throws(() => chooseMachineType(['pc-q35-10.0']), { code: 'HOST_UNFIT' })
})
