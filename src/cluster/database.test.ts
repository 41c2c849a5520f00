import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { isRametError } from '../shared/errors.ts'
import { Database } from './database.ts'
import { Journal } from './journal.ts'
import { migrations } from './migrations.ts'
import { SqliteStore } from './sqlite-store.ts'

function inDirectory(work: (path: string) => void | Promise<void>) {
  return async () => {
    const directory = mkdtempSync(join(tmpdir(), 'ramet-store-'))
    try {
      await work(join(directory, 'ramet.db'))
    } finally {
      rmSync(directory, { recursive: true })
    }
  }
}

const damaged = (path: string) => (error: unknown) =>
  isRametError(error, 'STORE_DAMAGED') && error.message.includes(path)

test(
  'documents and revisions outlive a restart, in a file for the owner only',
  inDirectory(async (path) => {
    const first = new SqliteStore(new Database(path))
    const revision = await first.create('vms', 'a', { n: 1 })
    await first.create('vms', 'b', 1)
    await first.delete('vms', 'b')
    await first.close()
    await first.close()
    assert.equal(statSync(path).mode & 0o777, 0o600)
    const second = new SqliteStore(new Database(path))
    assert.deepEqual(await second.get('vms', 'a'), { key: 'a', value: { n: 1 }, revision })
    assert.equal(await second.create('vms', 'b', 1), revision + 2)
    await second.close()
  }),
)

test(
  'a migration runs once, and a later schema is refused',
  inDirectory((path) => {
    new Database(path).close()
    const more = [...migrations, "CREATE TABLE extra (x); INSERT INTO extra VALUES ('once')"]
    new Database(path, { migrations: more }).close()
    const again = new Database(path, { migrations: more })
    assert.equal(again.statement('SELECT x FROM extra').all().length, 1)
    again.close()
    assert.throws(
      () => new Database(path),
      (error) => isRametError(error, 'STORE_TOO_NEW') && error.details.version === 2,
    )
  }),
)

test(
  'a migration that fails leaves the file as it was',
  inDirectory((path) => {
    new Database(path).close()
    assert.throws(() => new Database(path, { migrations: [...migrations, 'CREATE TABLE half (x); nonsense'] }))
    new Database(path).close()
  }),
)

test(
  'a damaged file, and one of somebody else, are named and left alone',
  inDirectory((path) => {
    const database = new Database(path)
    const journal = new Journal(database)
    for (let n = 0; n < 2_000; n += 1)
      journal.intend([{ operation: 'op-1', owner: `vm-${n}`, kind: 'process', ident: { n } }])
    database.close()
    const good = readFileSync(path)

    const torn = Buffer.from(good)
    torn.fill(0xa5, 5 * 4096, 8 * 4096)
    writeFileSync(path, torn)
    assert.throws(() => new Database(path), damaged(path))
    assert.deepEqual(readFileSync(path), torn)

    writeFileSync(path, good.subarray(0, 6 * 4096))
    assert.throws(() => new Database(path), damaged(path))

    writeFileSync(path, 'this is a letter, not a database; it is long enough to be told from an empty file')
    assert.throws(() => new Database(path), damaged(path))

    rmSync(path)
    const other = new DatabaseSync(path)
    other.exec('CREATE TABLE theirs (x)')
    other.close()
    assert.throws(() => new Database(path), damaged(path))
  }),
)

test('a transaction that throws stores nothing, nested ones included', () => {
  const database = new Database(':memory:')
  const store = new SqliteStore(database)
  const journal = new Journal(database)
  assert.throws(() =>
    database.transaction(() => {
      store.commitNow([{ op: 'create', bucket: 'vms', key: 'a', value: 1 }])
      journal.intend([{ operation: 'op', owner: 'a', kind: 'file', ident: 'f' }])
      throw new Error('changed my mind')
    }),
  )
  assert.deepEqual(journal.open(), new Map())
  assert.deepEqual(store.commitNow([{ op: 'create', bucket: 'vms', key: 'a', value: 1 }]), [1])
  assert.throws(
    () => database.transaction(async () => {}),
    (error) => isRametError(error, 'INTERNAL'),
  )
  database.close()
})
