import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RametError } from '../../shared/errors.ts'
import { parseDurationMs, parseShortDurationMs } from './duration.ts'
import { oneOf, positiveNumber, wholeNumber } from './number.ts'
import { parsePair, parseVariable } from './pair.ts'
import { parsePort } from './port.ts'
import { parseRestart } from './restart.ts'
import { parseSizeBytes } from './size.ts'
import { parseCopyPath } from './vm-path.ts'

const refuses = <T>(parse: (text: string) => T, ...texts: string[]) => {
  for (const text of texts)
    assert.throws(
      () => parse(text),
      (error) => error instanceof RametError && error.kind.exitCode === 2,
      text,
    )
}

test('durations', () => {
  const cases: Record<string, number> = {
    '10m': 600_000,
    '1h30m': 5_400_000,
    '500ms': 500,
    '90': 90_000,
    '1.5s': 1500,
    '2d': 172_800_000,
    '0': 0,
  }
  for (const [text, ms] of Object.entries(cases)) assert.equal(parseDurationMs(text), ms, text)
  refuses(parseDurationMs, '', 'm', '10x', '1h 30m', '-5s', '10mm', 'soon', '1m2')
})

test('short durations want a unit', () => {
  assert.equal(parseShortDurationMs('50ms'), 50)
  refuses(parseShortDurationMs, '50', '', 'soon')
})

test('sizes', () => {
  const cases: Record<string, number> = {
    '512M': 512 * 2 ** 20,
    '1.5G': 1.5 * 2 ** 30,
    '64KiB': 65536,
    '64kb': 65536,
    '100': 100,
    '1 GiB': 2 ** 30,
    '0': 0,
  }
  for (const [text, bytes] of Object.entries(cases)) assert.equal(parseSizeBytes(text), bytes, text)
  refuses(parseSizeBytes, '', 'M', '-1M', '1X', '99999999T', '1e9')
})

test('ports', () => {
  assert.deepEqual(parsePort('8080'), { guestPort: 8080 })
  assert.deepEqual(parsePort('80:8080'), { guestPort: 80, hostPort: 8080 })
  assert.deepEqual(parsePort('80:0.0.0.0:8080'), { guestPort: 80, hostPort: 8080, hostAddress: '0.0.0.0' })
  assert.deepEqual(parsePort('80:[::1]:8080'), { guestPort: 80, hostPort: 8080, hostAddress: '::1' })
  refuses(parsePort, '', '0', '65536', '80:', ':80', '80:99999', 'http', '80:a:80')
})

test('restart policies', () => {
  assert.deepEqual(parseRestart('always'), { mode: 'always' })
  assert.deepEqual(parseRestart('on-failure'), { mode: 'on-failure' })
  assert.deepEqual(parseRestart('on-failure:3'), { mode: 'on-failure', maxRetries: 3 })
  refuses(parseRestart, '', 'never', 'always:3', 'on-failure:', 'on-failure:1001')
})

test('paths to copy', () => {
  assert.deepEqual(parseCopyPath('web:/srv/a'), { vm: 'web', path: '/srv/a' })
  assert.deepEqual(parseCopyPath('web:notes'), { vm: 'web', path: '/root/notes' })
  assert.deepEqual(parseCopyPath('web:'), { vm: 'web', path: '/root' })
  assert.deepEqual(parseCopyPath('./a:b'), { path: './a:b' })
  assert.deepEqual(parseCopyPath('/a:b'), { path: '/a:b' })
  assert.deepEqual(parseCopyPath('plain'), { path: 'plain' })
})

test('pairs, variables and numbers', () => {
  assert.deepEqual(parsePair('a=b=c'), ['a', 'b=c'])
  assert.deepEqual(parsePair('a='), ['a', ''])
  assert.deepEqual(parseVariable('HOME', { HOME: '/root' }), ['HOME', '/root'])
  assert.deepEqual(parseVariable('A=1', {}), ['A', '1'])
  refuses(parsePair, 'a', '=b')
  refuses((text) => parseVariable(text, {}), 'UNSET')
  assert.equal(wholeNumber(1, 10)('10'), 10)
  refuses(wholeNumber(1, 10), '0', '11', 'x', '1.5', '')
  assert.equal(positiveNumber('0.5'), 0.5)
  refuses(positiveNumber, '0', '-1', 'half')
  assert.equal(oneOf('up', 'down')('up'), 'up')
  refuses(oneOf('up', 'down'), 'UP')
})
