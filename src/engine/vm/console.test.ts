import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { QemuProcess } from '../../qemu/process.ts'
import { limits } from '../../shared/limits.ts'
import { ConsoleLog, lastLines, tailOf } from './console.ts'

/** A QEMU that has these bytes in its ring, one after another. */
function ringOf(...texts: string[]): QemuProcess {
  const execute = async () => Buffer.from(texts.shift() ?? '').toString('base64')
  return { qmp: { execute } } as unknown as QemuProcess
}

async function withLog(work: (log: ConsoleLog) => Promise<void>): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'ramet-console-'))
  try {
    await work(new ConsoleLog(join(dir, 'vm-1')))
  } finally {
    await rm(dir, { recursive: true })
  }
}

test('the last lines for people hold no escape sequences and no blank lines', () => {
  const text = 'one\r\n\u001b[1;31mtwo\u001b[0m\n\n \n\u0007three\u001b[?25l'
  assert.deepEqual(lastLines(text, 2), ['two', 'three'])
  assert.deepEqual(lastLines(text, 0), [])
  assert.deepEqual(lastLines('', 5), [])
  const trace = ['before', 'Kernel panic - not syncing', ...Array.from({ length: 50 }, (_, index) => `frame ${index}`)]
  const told = lastLines(trace.join('\n'), 10)
  assert.deepEqual(told.slice(0, 3), ['before', 'Kernel panic - not syncing', 'frame 0'], 'a panic is not pushed out')
  assert.equal(told.length, 10)
})

test('the last lines as they came', () => {
  const tail = (text: string, count: number) => tailOf(Buffer.from(text), count).toString()
  assert.equal(tail('a\nb\nc\n', 2), 'b\nc\n')
  assert.equal(tail('a\nb\nlogin: ', 1), 'login: ')
  assert.equal(tail('a\nb\nlogin: ', 2), 'b\nlogin: ')
  assert.equal(tail('a\nb', 9), 'a\nb')
  assert.equal(tail('\na\n', 1), 'a\n')
  assert.equal(tail('\n', 5), '\n')
  assert.equal(tail('\n\n', 1), '\n')
  assert.equal(tail('a\nb', 0), '')
  assert.equal(tail('', 3), '')
})

test('what QEMU held is kept, and read on from where somebody was', () =>
  withLog(async (log) => {
    assert.equal((await log.read()).length, 0)
    const qemu = ringOf('one\n', '', 'two\n')
    await log.drain(qemu)
    const { bytes, end } = await log.readFrom(0)
    assert.equal(bytes.toString(), 'one\n')
    await log.drain(qemu)
    await log.drain(qemu)
    assert.equal((await log.readFrom(end)).bytes.toString(), 'two\n')
    assert.deepEqual(await log.tail(1), ['two'])
  }))

test('who follows misses nothing and sees nothing twice when the log is shortened, or begins anew', () =>
  withLog(async (log) => {
    const half = 'x'.repeat(limits.consoleBytes / 2)
    const qemu = ringOf(half, half, 'new', 'boot')
    await log.drain(qemu)
    await log.drain(qemu)
    const { end } = await log.readFrom(0)
    await log.drain(qemu)
    assert.equal((await log.read()).length, limits.consoleBytes / 2)
    const after = await log.readFrom(end)
    assert.equal(after.bytes.toString(), 'new')
    await log.clear()
    assert.equal((await log.readFrom(after.end)).bytes.length, 0)
    await log.drain(qemu)
    assert.equal((await log.readFrom(after.end)).bytes.toString(), 'boot')
  }))

test('a QEMU that has gone takes its newest lines along, and nothing else', () =>
  withLog(async (log) => {
    await log.drain(ringOf('kept'))
    const gone = { qmp: { execute: () => Promise.reject(new TypeError('gone')) } } as unknown as QemuProcess
    await log.drain(gone)
    assert.equal((await log.read()).toString(), 'kept')
  }))
