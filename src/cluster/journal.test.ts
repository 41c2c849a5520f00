import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { isRametError } from '../shared/errors.ts'
import { limits } from '../shared/limits.ts'
import { Database } from './database.ts'
import { Journal } from './journal.ts'
import { SqliteStore } from './sqlite-store.ts'

const process_ = { operation: 'op-1', owner: 'vm-1', kind: 'process' as const, ident: { marker: 'x' } }
const file = { operation: 'op-1', owner: 'vm-1', kind: 'file' as const, ident: { path: 'vms/vm-1/disk0.qcow2' } }

test('an entry goes from intent to held to gone, and everything open is grouped by owner', () => {
  const database = new Database(':memory:')
  const journal = new Journal(database)
  const ids = journal.intend([process_, file, { ...process_, owner: 'vm-2' }])
  assert.equal(new Set(ids).size, 3)
  assert.deepEqual([...journal.open().keys()], ['vm-1', 'vm-2'])
  assert.deepEqual(
    journal.openOf('vm-1').map(({ id, kind, state }) => ({ id, kind, state })),
    [
      { id: ids[0], kind: 'process', state: 'intent' },
      { id: ids[1], kind: 'file', state: 'intent' },
    ],
  )

  const [first = 0, second = 0] = ids
  journal.hold([{ id: first, ident: { pid: 17, startTicks: 4 } }, { id: second }])
  journal.hold([{ id: second }])
  const [heldProcess, heldFile] = journal.openOf('vm-1')
  assert.deepEqual(heldProcess?.ident, { pid: 17, startTicks: 4 })
  assert.deepEqual(heldFile?.ident, file.ident)
  assert.equal(heldFile?.state, 'held')

  journal.release(ids)
  journal.release(ids)
  assert.equal(journal.open().size, 0)
  assert.throws(
    () => journal.hold([{ id: first }]),
    (error) => isRametError(error, 'INTERNAL'),
  )
  const [next = 0] = journal.intend([file])
  assert.ok(next > Math.max(...ids), 'ids are not used twice')
  database.close()
})

test('an ident beyond the limit is refused before anything is written', () => {
  const database = new Database(':memory:')
  const journal = new Journal(database)
  assert.throws(
    () => journal.intend([file, { ...file, ident: 'x'.repeat(limits.journalIdentBytes) }]),
    (error) => isRametError(error, 'TOO_LARGE'),
  )
  assert.equal(journal.open().size, 0)
  database.close()
})

test('a release shares a commit with the document that takes over', () => {
  const database = new Database(':memory:')
  const journal = new Journal(database)
  const store = new SqliteStore(database)
  const ids = journal.intend([file])
  const take = () =>
    journal.transaction(() => {
      journal.release(ids)
      store.commitNow([{ op: 'create', bucket: 'vms', key: 'vm-1', value: {} }])
    })
  take()
  assert.equal(journal.open().size, 0)
  const more = journal.intend([file])
  ids.splice(0, ids.length, ...more)
  assert.throws(take, (error) => isRametError(error, 'STORE_CONFLICT'))
  assert.equal(journal.openOf('vm-1').length, 1, 'the release was undone with the failed commit')
  database.close()
})

/** Writes entries of both durabilities for ever, and says on stdout what was recorded, after it was. */
const writer = `
  import { writeSync } from 'node:fs'
  import { Database } from '${import.meta.resolve('./database.ts')}'
  import { Journal } from '${import.meta.resolve('./journal.ts')}'
  const journal = new Journal(new Database(process.argv[1]))
  for (let n = 0; ; n += 1) {
    const kind = n % 2 === 0 ? 'process' : 'file'
    const [id] = journal.intend([{ operation: 'op', owner: 'vm', kind, ident: n }])
    if (n % 3 === 0) journal.hold([{ id }])
    writeSync(1, n + '\\n')
  }
`

test('what was recorded before a kill is there after it', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'ramet-journal-'))
  const path = join(directory, 'ramet.db')
  const child = spawn(process.execPath, ['--input-type=module', '-e', writer, path], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text) => {
    output += text
    if (output.length > 500) child.kill('SIGKILL')
  })
  await once(child, 'close')
  const recorded = output.split('\n').slice(0, -1).map(Number)
  const database = new Database(path)
  const entries = new Journal(database).openOf('vm')
  database.close()
  rmSync(directory, { recursive: true })
  const found = new Map(entries.map((entry) => [entry.ident, entry.state]))
  assert.ok(recorded.length > 100)
  for (const n of recorded) assert.equal(found.get(n), n % 3 === 0 ? 'held' : 'intent', `entry ${n}`)
})
