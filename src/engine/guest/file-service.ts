import { basename, posix } from 'node:path'
import type { Readable } from 'node:stream'
import { type FileInfo, listDirectory, makeDirectory, removeFile, renameFile, statFile } from '../../agent/file.ts'
import { readFile, writeFile } from '../../agent/file-transfer.ts'
import { guestErrno } from '../../agent/guest-error.ts'
import type { AgentSession } from '../../agent/session.ts'
import { watchPath } from '../../agent/watch.ts'
import type { FileEntry, FileEvent, FileMakeDirectory, FileRename, FileWriteOptions } from '../../api/file.ts'
import { RametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import type { FileRead } from '../contract.ts'
import type { EngineParts } from '../parts.ts'
import type { VmRecord } from '../records.ts'
import { measure } from './file-content.ts'
import { untilOver } from './until-over.ts'

/** Files of guests. Every path is the guest's own; none of them ever meets the host's file system. */
export class FileService {
  readonly #parts: EngineParts

  constructor(parts: EngineParts) {
    this.#parts = parts
  }

  async read(
    vm: VmRecord,
    path: string,
    range: { offset: number; lengthBytes?: number | undefined },
    signal?: AbortSignal,
  ): Promise<FileRead> {
    return this.#with(vm, 'read a file of', path, async (session) => {
      const entry = entryOf(path, await statFile(session, path))
      if (entry.kind === 'directory')
        throw new RametError('INVALID_ARGUMENT', { message: `${path} is a directory`, remediation: 'List it instead.' })
      const content = await readFile(session, path, {
        offset: range.offset,
        ...(range.lengthBytes === undefined ? {} : { limit: range.lengthBytes }),
        ...(signal === undefined ? {} : { signal }),
      })
      const { lengthBytes, body } = await measure(content, path, range)
      return { entry, lengthBytes, body: this.#inUseUntilRead(vm, body) }
    })
  }

  async write(vm: VmRecord, path: string, body: Readable, options: FileWriteOptions): Promise<FileEntry> {
    return this.#with(vm, 'write a file of', path, async (session) => {
      if (options.offset !== undefined) await checkAppend(session, path, options.offset)
      await writeFile(session, path, body, {
        ...(options.mode === undefined ? {} : { mode: options.mode }),
        ...(options.user === undefined ? {} : { user: options.user }),
        makeParents: options.parents ?? false,
        append: options.offset !== undefined,
      })
      return entryOf(path, await statFile(session, path))
    })
  }

  async stat(vm: VmRecord, path: string): Promise<FileEntry> {
    return this.#with(vm, 'look at a file of', path, async (session) =>
      entryOf(path, await statFile(session, path, { followLinks: false })),
    )
  }

  async list(vm: VmRecord, path: string): Promise<FileEntry[]> {
    return this.#with(vm, 'list files of', path, async (session) => {
      const listed: FileEntry[] = []
      for (;;) {
        const { entries, totalCount } = await listDirectory(session, path, { offset: listed.length })
        for (const entry of entries) listed.push(entryOf(posix.join(path, entry.name), entry))
        if (entries.length === 0 || listed.length >= totalCount) return listed.sort(byName)
        if (listed.length > limits.directoryEntryCount)
          throw new RametError('TOO_LARGE', {
            message: `${path} in ${vm.name} has more than ${limits.directoryEntryCount} entries`,
            remediation: `List it inside: \`ramet exec ${vm.name} ls ${path}\`.`,
          })
      }
    })
  }

  async makeDirectory(vm: VmRecord, request: FileMakeDirectory): Promise<FileEntry> {
    return this.#with(vm, 'make a directory in', request.path, async (session) => {
      await makeDirectory(session, request.path, { mode: request.mode ?? 0o755, makeParents: request.parents })
      return entryOf(request.path, await statFile(session, request.path))
    })
  }

  async remove(vm: VmRecord, path: string, options: { recursive: boolean }): Promise<void> {
    await this.#with(vm, 'remove a file of', path, (session) => removeFile(session, path, options))
  }

  async rename(vm: VmRecord, request: FileRename): Promise<FileEntry> {
    return this.#with(vm, 'rename a file of', request.from, async (session) => {
      await renameFile(session, request.from, request.to)
      return entryOf(request.to, await statFile(session, request.to, { followLinks: false }))
    })
  }

  async watch(
    vm: VmRecord,
    path: string,
    options: { recursive: boolean },
    signal: AbortSignal,
  ): Promise<AsyncIterable<FileEvent>> {
    return this.#with(vm, 'watch files of', path, async (session) => {
      const watch = await watchPath(session, path, { recursive: options.recursive, signal })
      const events = (async function* () {
        try {
          for await (const event of watch) yield { type: event.action, path: event.path, kind: 'unknown' as const }
        } catch (error) {
          if (!signal.aborted) throw error
        }
      })()
      return this.#inUseUntilRead(vm, events, signal)
    })
  }

  /** What is read goes on when the call that began it has been answered. */
  #inUseUntilRead<T>(vm: VmRecord, items: AsyncIterable<T>, signal?: AbortSignal): AsyncIterable<T> {
    const hold = this.#parts.runtimes.uses.hold(vm.id)
    return untilOver(items, () => hold[Symbol.dispose](), signal)
  }

  /** Gives the guest's refusals the codes that the API has for them. */
  async #with<T>(of: VmRecord, verb: string, path: string, work: (session: AgentSession) => Promise<T>): Promise<T> {
    using call = await this.#parts.calls.begin(of)
    const { vm } = call
    const session = await this.#parts.runtimes.session(vm, verb)
    try {
      return await work(session)
    } catch (error) {
      const errno = guestErrno(error)
      if (errno === 'ENOENT' || errno === 'ENOTDIR')
        throw new RametError('NOT_FOUND', {
          message: `${vm.name} has no ${path}`,
          cause: error,
          remediation: `See what there is with \`ramet exec ${vm.name} ls ${posix.dirname(path)}\`.`,
        })
      if (errno === 'ENOTEMPTY')
        throw new RametError('IN_USE', {
          message: `${path} in ${vm.name} is not empty`,
          cause: error,
          remediation: 'Remove it recursively, or what is in it first.',
        })
      throw error
    }
  }
}

/** The agent appends; writing in the middle would need the file to be read, so it is refused. */
async function checkAppend(session: AgentSession, path: string, offset: number): Promise<void> {
  const { sizeBytes } = await statFile(session, path)
  if (sizeBytes === offset) return
  throw new RametError('INVALID_ARGUMENT', {
    message: `${path} has ${sizeBytes} bytes; writing can go on there, not at ${offset}`,
    details: { sizeBytes },
  })
}

function entryOf(path: string, info: FileInfo): FileEntry {
  return {
    name: basename(path) || '/',
    path,
    kind: info.kind,
    sizeBytes: info.sizeBytes,
    mode: info.mode,
    uid: info.uid,
    gid: info.gid,
    modifiedAt: new Date(Number(info.mtimeNs / 1_000_000n)).toISOString(),
    ...(info.target === undefined ? {} : { target: info.target }),
  }
}

const byName = (a: FileEntry, b: FileEntry) => (a.name < b.name ? -1 : 1)
