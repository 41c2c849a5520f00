import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type CpioEntry, writeCpio } from './cpio.ts'
import { runTool } from './testing/fixtures.ts'

const entries: CpioEntry[] = [
  { kind: 'directory', path: 'etc' },
  { kind: 'file', path: 'etc/odd', mode: 0o600, data: Buffer.from('odd') },
  { kind: 'file', path: 'empty', data: Buffer.alloc(0) },
  { kind: 'file', path: 'init', mode: 0o755, data: Buffer.alloc(70_001, 'x') },
  { kind: 'symlink', path: 'etc/link', target: '../init' },
  { kind: 'character-device', path: 'console', major: 5, minor: 1 },
]

test('another cpio lists what was written', async () => {
  const listing = await runTool('busybox', ['cpio', '-tv'], writeCpio(entries))
  const lines = listing
    .trim()
    .split('\n')
    .map((line) => line.replaceAll(/\s+/g, ' '))
  assert.deepEqual(lines, [
    'drwxr-xr-x 0/0 0 1970-01-01 00:00:00 etc',
    '-rw------- 0/0 3 1970-01-01 00:00:00 etc/odd',
    '-rw-r--r-- 0/0 0 1970-01-01 00:00:00 empty',
    '-rwxr-xr-x 0/0 70001 1970-01-01 00:00:00 init',
    'lrwxrwxrwx 0/0 0 1970-01-01 00:00:00 etc/link -> ../init',
    'crw------- 0/0 0 1970-01-01 00:00:00 console',
  ])
})

test('another cpio reads the contents back', async () => {
  const content = await runTool('busybox', ['cpio', '-i', '--to-stdout', 'etc/odd'], writeCpio(entries))
  assert.equal(content, 'odd')
})

test('equal entries give equal bytes, in whole blocks', () => {
  assert.deepEqual(writeCpio(entries), writeCpio(entries))
  assert.equal(writeCpio(entries).length % 512, 0)
})

test('paths that leave the archive, and doubled ones, are refused', () => {
  for (const path of ['/etc', '../etc', 'a//b', '', './a']) {
    assert.throws(() => writeCpio([{ kind: 'directory', path }]), /plain relative path/)
  }
  assert.throws(() => writeCpio([...entries, { kind: 'directory', path: 'etc' }]), /once/)
})
