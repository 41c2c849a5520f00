import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { it } from 'node:test'
import { machineFiles } from '../../qemu/machine.ts'
import { limits } from '../../shared/limits.ts'
import { silentLog } from '../../shared/log.ts'
import type { Runtimes } from '../vm/runtimes.ts'
import { LogSweep } from './log-sweep.ts'

it('empties a log that is too long, leaves others, and is not stopped by one that cannot be opened', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'ramet-sweep-'))
  t.after(() => rm(dir, { recursive: true, force: true }))
  const logOf = (name: string) => join(dir, name, machineFiles.log)
  const names = ['broken', 'long', 'short']
  for (const name of names) mkdirSync(join(dir, name))
  mkdirSync(logOf('broken'))
  writeFileSync(logOf('long'), Buffer.alloc(limits.vmmLogBytes + 1, 'x'))
  writeFileSync(logOf('short'), 'words')
  const runtimes = names.map((vmId) => ({ vmId, qemu: { dir: join(dir, vmId) } }))
  new LogSweep({ log: silentLog }, { list: () => runtimes as ReturnType<Runtimes['list']> }).sweep()
  assert.equal(readFileSync(logOf('long')).length, 0)
  assert.equal(readFileSync(logOf('short'), 'utf8'), 'words')
})
