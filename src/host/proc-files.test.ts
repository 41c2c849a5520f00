import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseMappingLine, parseMaps, readMaps } from './proc-maps.ts'
import { parseSmaps, parseSmapsRollup, readSmaps, readSmapsRollup } from './smaps.ts'

const line = '7fd737e00000-7fd747e02000 rw-p 00001000 00:01 1037  /memfd:ramet-base-1 (deleted)'

test('a mapping with a file, one without, and lines that are none', () => {
  assert.deepEqual(parseMappingLine(line), {
    start: 0x7fd737e00000,
    end: 0x7fd747e02000,
    permissions: 'rw-p',
    offsetBytes: 0x1000,
    inode: 1037,
    path: '/memfd:ramet-base-1 (deleted)',
  })
  assert.equal(parseMappingLine('7ff1b0021000-7ff1b4000000 ---p 00000000 00:00 0 ')?.path, '')
  assert.equal(parseMappingLine('Rss:                   4 kB'), undefined)
  assert.equal(parseMaps(`${line}\n\n`).length, 1)
  assert.ok(readMaps(process.pid).some(({ path }) => path === '[stack]'))
})

test('use is counted per mapping, and in sum', () => {
  const uses = parseSmaps(
    `${line}\nRss: 12 kB\nPss: 6 kB\nAnonymous: 8 kB\nLazyFree: 4 kB\nSwap: 4 kB\nSwapPss: 4 kB\n${line}\nRss: 4 kB\n`,
  )
  const rest = {
    residentBytes: 12288,
    proportionalBytes: 6144,
    anonymousBytes: 8192,
    swappedBytes: 4096,
    lazyFreeBytes: 4096,
  }
  assert.deepEqual(uses[0], { mapping: parseMappingLine(line), ...rest })
  assert.equal(uses[1]?.residentBytes, 4096)
  assert.deepEqual(
    parseSmapsRollup(
      '5-7 ---p 00000000 00:00 0 [rollup]\nRss: 12 kB\nPss: 6 kB\nPss_Anon: 1 kB\nAnonymous: 8 kB\nLazyFree: 4 kB\nSwap: 4 kB\n',
    ),
    rest,
  )
  const sum = readSmaps(process.pid).reduce((total, use) => total + use.anonymousBytes, 0)
  const rollup = readSmapsRollup(process.pid).anonymousBytes
  assert.ok(Math.abs(sum - rollup) < 64 * 1024 * 1024 && rollup > 0)
})
