import { errnoOf, RametError } from '../shared/errors.ts'

/** Primary result codes of SQLite that mean something to a user. */
const primary = { busy: 5, locked: 6, readonly: 8, ioerr: 10, corrupt: 11, full: 13, cantopen: 14, notadb: 26 } as const

/** Says what a failure inside SQLite means, naming the file. A RametError passes as it is. */
export function fromSqlite(error: unknown, path: string): RametError {
  if (error instanceof RametError) return error
  const cause = error
  const code = primaryCode(error)
  switch (code) {
    case primary.notadb:
    case primary.corrupt:
      return new RametError('STORE_DAMAGED', { message: `${path} is damaged`, cause, details: { path } })
    case primary.full:
      return new RametError('NO_SPACE', { message: `no space left to write ${path}`, cause, details: { path } })
    case primary.busy:
    case primary.locked:
      return new RametError('TIMEOUT', { message: `${path} was locked by another process for too long`, cause })
    case primary.readonly:
    case primary.cantopen:
      return new RametError('PRIVILEGE', { message: `${path} cannot be opened for writing`, cause, details: { path } })
    case primary.ioerr:
      return new RametError('STORE_DAMAGED', { message: `${path} could not be read or written`, cause })
    default:
      return new RametError('INTERNAL', { message: `${path}: ${String(error)}`, cause })
  }
}

export function isBusy(error: unknown): boolean {
  return primaryCode(error) === primary.busy
}

function primaryCode(error: unknown): number | undefined {
  if (errnoOf(error) !== 'ERR_SQLITE_ERROR') return undefined
  // node:sqlite gives the extended code, whose low byte is the primary one
  return error instanceof Error && 'errcode' in error && typeof error.errcode === 'number'
    ? error.errcode & 0xff
    : undefined
}
