import { rmSync, watch } from 'node:fs'
import { lstat, mkdir, open, readdir, readlink, rename, rm, stat } from 'node:fs/promises'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'
import type { Fields } from '../../wire/field-table.ts'
import type { FakeStream } from './stream.ts'

async function info(path: string, follow: boolean): Promise<Fields> {
  const found = await (follow ? stat(path, { bigint: true }) : lstat(path, { bigint: true }))
  const link = found.isSymbolicLink()
  return {
    kind: found.isFile() ? 'file' : found.isDirectory() ? 'directory' : link ? 'symlink' : 'other',
    size: Number(found.size),
    mode: Number(found.mode) & 0o7777,
    uid: Number(found.uid),
    gid: Number(found.gid),
    mtimeNs: found.mtimeNs,
    ...(link ? { target: await readlink(path) } : {}),
  }
}

/** File operations of a fake guest, on the files of this host. Errors are those of the system calls. */
export const fileOperations: Record<string, (stream: FakeStream, path: string) => Promise<void>> = {
  'file.stat': async (stream, path) => {
    stream.respond(await info(path, ((stream.request.flags ?? 0) & 1) === 0))
  },
  'file.list': async (stream, path) => {
    const names = (await readdir(path)).sort()
    const { offset = 0, limit = 500 } = stream.request
    const page = names.slice(offset, offset + Math.min(limit, 100))
    const entry = await Promise.all(page.map(async (name) => ({ name, ...(await info(join(path, name), false)) })))
    stream.respond({ size: names.length, entry })
  },
  'file.mkdir': async (stream, path) => {
    await mkdir(path, { recursive: ((stream.request.flags ?? 0) & 2) !== 0, mode: stream.request.mode })
    stream.respond()
  },
  'file.remove': async (stream, path) => {
    const recursive = ((stream.request.flags ?? 0) & 1) !== 0
    await rm(path, { recursive })
    stream.respond()
  },
  'file.rename': async (stream, path) => {
    await rename(path, stream.request.target ?? '')
    stream.respond()
  },
  'file.read': readOut,
  'file.write': takeIn,
  watch: async (stream, path) => {
    const watcher = watch(path, (_kind, name) => {
      stream.event({ op: 'file', action: 'modified', path: join(path, name ?? '') })
    })
    stream.onOver = () => watcher.close()
    stream.respond()
  },
}

async function readOut(stream: FakeStream, path: string): Promise<void> {
  const file = await open(path)
  const { size } = await file.stat()
  const { offset = 0, limit = Number.POSITIVE_INFINITY } = stream.request
  // To the end that it has, not the one that it states.
  const content = (await file.readFile()).subarray(offset, offset + limit)
  await file.close()
  stream.respond({ size })
  const pump = () => {
    const from = stream.sent(1)
    stream.send(1, content.subarray(from, from + Math.max(0, stream.room(1))))
    if (stream.sent(1) < content.length || stream.over) return
    stream.eof(1)
    stream.end()
  }
  stream.onAck = pump
  pump()
}

async function takeIn(stream: FakeStream, path: string): Promise<void> {
  const { flags = 0, mode = 0o644 } = stream.request
  const append = (flags & 1) !== 0
  const exists = await lstat(path).then(
    () => true,
    () => false,
  )
  if ((flags & 4) !== 0 && exists) return stream.respond({ errno: constants.errno.EEXIST, message: 'it exists' })
  if ((flags & 2) !== 0) await mkdir(dirname(path), { recursive: true })
  const beside = append ? path : `${path}.ramet-new`
  const file = await open(beside, append ? 'a' : 'w', mode)
  let work: Promise<unknown> = Promise.resolve()
  stream.onData = (offset, bytes) => {
    work = work.then(() => file.write(bytes)).then(() => stream.ack(offset + bytes.length))
  }
  let complete = false
  stream.onEof = () => {
    complete = true
    work = work.then(async () => {
      const { size } = await file.stat()
      await file.close()
      if (!append) await rename(beside, path)
      stream.respond({ size })
      stream.end()
    })
  }
  stream.onOver = () => {
    if (complete) return
    if (!append) rmSync(beside, { force: true })
    work = work.then(() => file.close())
  }
  return stream.respond()
}
