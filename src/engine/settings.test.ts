import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { isRametError } from '../shared/errors.ts'
import { parseSettings, resolveSettings } from './settings.ts'

test('root has the system’s directories, anybody else their own', () => {
  assert.equal(resolveSettings({}, {}, 0).dataDir, '/var/lib/ramet')
  const own = resolveSettings({}, { HOME: '/home/u' }, 1000)
  assert.equal(own.dataDir, '/home/u/.local/share/ramet')
  assert.equal(own.cacheDir, '/home/u/.cache/ramet')
})

test('a flag goes before the environment, that before the file, that before the default', () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'ramet-settings-'))
  try {
    const environment = { RAMET_DATA_DIR: dataDir }
    assert.equal(resolveSettings({}, environment, 0).httpPort, undefined)
    writeFileSync(join(dataDir, 'ramet.toml'), 'http = 7070\nlog_level = "debug"\ncache_dir = "/srv/cache"\n')
    const fromFile = resolveSettings({}, environment, 0)
    assert.deepEqual([fromFile.httpPort, fromFile.logLevel, fromFile.cacheDir], [7070, 'debug', '/srv/cache'])
    const fromEnvironment = { ...environment, RAMET_HTTP: '7071', RAMET_LOG_LEVEL: 'warn', RAMET_CACHE_DIR: '/c' }
    const mixed = resolveSettings({ http: '7072' }, fromEnvironment, 0)
    assert.deepEqual([mixed.httpPort, mixed.logLevel, mixed.cacheDir], [7072, 'warn', '/c'])
  } finally {
    rmSync(dataDir, { recursive: true })
  }
})

test('the size of the block cache is asked for in the file or the environment, or left to the page server', () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'ramet-settings-'))
  try {
    const sizeOf = (size: object) => resolveSettings({ dataDir }, { ...size }, 0).blockCacheMiB
    assert.equal(sizeOf({}), undefined)
    assert.equal(sizeOf({ RAMET_BLOCK_CACHE_MIB: '512' }), 512)
    writeFileSync(join(dataDir, 'ramet.toml'), 'block_cache_mib = 100\n')
    assert.equal(sizeOf({}), 100)
    assert.equal(sizeOf({ RAMET_BLOCK_CACHE_MIB: '1' }), 1)
    for (const wrong of ['0', '-1', '1.5', '', 'half', '1048577'])
      assert.throws(
        () => sizeOf({ RAMET_BLOCK_CACHE_MIB: wrong }),
        (error) => isRametError(error, 'INVALID_ARGUMENT') && error.message.includes('RAMET_BLOCK_CACHE_MIB'),
      )
  } finally {
    rmSync(dataDir, { recursive: true })
  }
})

test('a setting that is wrong or unknown is named', () => {
  for (const [text, name] of [
    ['http = "x"', 'http'],
    ['cache_dir = "relative"', 'cache_dir'],
    ['colour = 1', 'colour'],
    ['block_cache_mib = 0', 'block_cache_mib'],
    ['=', 'not TOML'],
  ] as const) {
    assert.throws(
      () => parseSettings(text, 'ramet.toml'),
      (error) => isRametError(error, 'INVALID_ARGUMENT') && error.message.includes(name),
    )
  }
  assert.throws(
    () => resolveSettings({ http: 'eighty' }, {}, 0),
    (error) => isRametError(error, 'INVALID_ARGUMENT'),
  )
})

test('the memory that starts leave free is told in MiB, by the environment or the file', () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'ramet-settings-'))
  try {
    const environment = { RAMET_DATA_DIR: dataDir }
    assert.equal(resolveSettings({}, environment, 0).memoryReserveBytes, undefined)
    writeFileSync(join(dataDir, 'ramet.toml'), 'memory_reserve_mib = 512\n')
    assert.equal(resolveSettings({}, environment, 0).memoryReserveBytes, 512 * 1024 * 1024)
    const zero = { ...environment, RAMET_MEMORY_RESERVE_MIB: '0' }
    assert.equal(resolveSettings({}, zero, 0).memoryReserveBytes, 0)
    for (const wrong of ['', '-1', '1.5', '2G', '1048577'])
      assert.throws(
        () => resolveSettings({}, { ...environment, RAMET_MEMORY_RESERVE_MIB: wrong }, 0),
        (error) => isRametError(error, 'INVALID_ARGUMENT') && error.message.includes('RAMET_MEMORY_RESERVE_MIB'),
        wrong,
      )
  } finally {
    rmSync(dataDir, { recursive: true })
  }
})
