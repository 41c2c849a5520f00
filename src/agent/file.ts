import { limits } from '../shared/limits.ts'
import type { WaitOptions } from './deadline.ts'
import { need } from './guest-error.ts'
import type { AgentSession } from './session.ts'
import type { Fields } from './wire/field-table.ts'

export type FileKind = 'file' | 'directory' | 'symlink' | 'other'

export interface FileInfo {
  readonly kind: FileKind
  readonly sizeBytes: number
  /** permission bits */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly mtimeNs: bigint
  /** where a symbolic link points */
  readonly target: string | undefined
}

export interface DirectoryEntry extends FileInfo {
  /** bytes that are not UTF-8 appear as U+FFFD */
  readonly name: string
}

const flag = { noFollow: 1, recursive: 1, makeParents: 2 } as const

/** @throws RametError `GUEST_REFUSED` (`ENOENT`), as all of these, and as `AgentSession.request` */
export async function statFile(
  session: AgentSession,
  path: string,
  options: WaitOptions & { followLinks?: boolean } = {},
): Promise<FileInfo> {
  const flags = options.followLinks === false ? flag.noFollow : 0
  return readInfo(await session.request('file.stat', { path, flags }, options))
}

/**
 * Entries of a directory, from `offset` on.
 *
 * @returns at most `limit` entries (default and most `limits.listPageRows`), and how many there are in all
 */
export async function listDirectory(
  session: AgentSession,
  path: string,
  { offset = 0, limit = limits.listPageRows, ...wait }: WaitOptions & { offset?: number; limit?: number } = {},
): Promise<{ entries: DirectoryEntry[]; totalCount: number }> {
  const wanted = Math.min(limit, limits.listPageRows)
  const entries: DirectoryEntry[] = []
  let totalCount = 0
  while (entries.length < wanted) {
    const fields = { path, offset: offset + entries.length, limit: wanted - entries.length }
    const answer = await session.request('file.list', fields, wait)
    totalCount = answer.size ?? 0
    const page = (answer.entry ?? []).slice(0, wanted - entries.length)
    for (const entry of page) entries.push({ name: need(entry.name, 'name'), ...readInfo(entry) })
    if (page.length === 0 || offset + entries.length >= totalCount) break
  }
  return { entries, totalCount }
}

export async function makeDirectory(
  session: AgentSession,
  path: string,
  options: WaitOptions & { mode?: number; user?: string; makeParents?: boolean } = {},
): Promise<void> {
  const { mode = 0o755, user, makeParents } = options
  await session.request('file.mkdir', { path, mode, user, flags: makeParents ? flag.makeParents : 0 }, options)
}

export async function removeFile(
  session: AgentSession,
  path: string,
  options: WaitOptions & { recursive?: boolean } = {},
): Promise<void> {
  await session.request('file.remove', { path, flags: options.recursive ? flag.recursive : 0 }, options)
}

export async function renameFile(
  session: AgentSession,
  path: string,
  target: string,
  options?: WaitOptions,
): Promise<void> {
  await session.request('file.rename', { path, target }, options)
}

function readInfo(fields: Fields): FileInfo {
  const kinds: readonly string[] = ['file', 'directory', 'symlink']
  return {
    kind: kinds.includes(fields.kind ?? '') ? (fields.kind as FileKind) : 'other',
    sizeBytes: fields.size ?? 0,
    mode: fields.mode ?? 0,
    uid: fields.uid ?? 0,
    gid: fields.gid ?? 0,
    mtimeNs: fields.mtimeNs ?? 0n,
    target: fields.target,
  }
}
