import assert from 'node:assert/strict'
import { join, resolve } from 'node:path'
import { test } from 'node:test'
import { isRametError } from '../shared/errors.ts'
import { defaultDataDirectory, resolveTarget } from './settings.ts'

test('a data directory is absolute wherever it comes from', () => {
  assert.equal(defaultDataDirectory({ RAMET_DATA_DIR: 'rel' }), resolve('rel'))
  assert.equal(resolveTarget({ dataDirectory: 'rel' }, {}).socketPath, join(resolve('rel'), 'ramet.sock'))
})

test('a socket path that the kernel has no room for is refused', () => {
  assert.equal(resolveTarget({ socketPath: `/${'a'.repeat(106)}` }, {}).socketPath?.length, 107)
  assert.throws(
    () => resolveTarget({ socketPath: `/${'é'.repeat(54)}` }, {}),
    (error) => isRametError(error, 'INVALID_ARGUMENT') && error.message.includes('107'),
  )
})
