import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { closeSync, linkSync, lstatSync, readFileSync, symlinkSync, writeFileSync, writeSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { machineFiles } from './machine.ts'
import { capLog, logTail, openLog } from './qemu-log.ts'

describe("the log of a vm, whose directory is the vm's own", () => {
  let dir: string
  let log: string
  let precious: string

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'ramet-log-'))
    log = join(dir, machineFiles.log)
    precious = join(dir, 'precious')
    writeFileSync(precious, 'secret of the host\n')
  })
  afterEach(() => rm(dir, { recursive: true, force: true }))

  const append = (text: string) => {
    const fd = openLog(dir)
    writeSync(fd, text)
    closeSync(fd)
  }

  it('is appended to, and emptied once it has grown too long', () => {
    append('one\n')
    append('two\n')
    assert.deepEqual(logTail(dir), ['one', 'two'])
    assert.equal(capLog(dir, 100), false)
    assert.equal(capLog(dir, 4), true)
    assert.deepEqual(logTail(dir), [])
  })

  for (const [what, put] of [
    ['a symbolic link', () => symlinkSync(precious, log)],
    ['a second name of another file', () => linkSync(precious, log)],
    ['a pipe that nobody reads', () => execFileSync('mkfifo', [log])],
  ] as const) {
    it(`is not ${what} that was put in its place`, () => {
      put()
      assert.deepEqual(logTail(dir), [], 'nothing is read through it')
      append('words\n')
      assert.equal(readFileSync(precious, 'utf8'), 'secret of the host\n')
      assert.equal(lstatSync(log).isFile(), true)
      assert.deepEqual(logTail(dir), ['words'])
    })
  }
})
