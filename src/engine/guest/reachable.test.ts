import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { isRametError } from '../../shared/errors.ts'
import { checkReachable } from './reachable.ts'

test('a directory that keeps others out is named, wherever it is on the way', () => {
  const outer = mkdtempSync(join(tmpdir(), 'ramet-reachable-'))
  const inner = join(outer, 'data')
  mkdirSync(inner)
  chmodSync(inner, 0o711)
  try {
    chmodSync(outer, 0o700)
    assert.throws(
      () => checkReachable(inner),
      (error) => isRametError(error, 'PRIVILEGE') && error.remediation.includes(`chmod o+x ${outer}`),
    )
    chmodSync(outer, 0o711)
    checkReachable(inner)
  } finally {
    rmSync(outer, { recursive: true })
  }
})
