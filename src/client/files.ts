import type { Readable } from 'node:stream'
import type { FileEntry, FileEvent } from '../api/file.ts'
import { RametApiError } from './errors.ts'
import { serverSentEvents } from './server-sent-events.ts'
import { type ApiRequest, path, type Transport } from './transport.ts'

/** What can be written to a file. */
export type FileContent = string | Uint8Array | AsyncIterable<Uint8Array>

export interface FileOptions {
  signal?: AbortSignal
}

/** Options of {@link Files.read}. */
export interface FileReadOptions extends FileOptions {
  /** `text` (the default): a string, decoded as UTF-8 · `bytes`: a Uint8Array · `stream`: a stream of chunks */
  format?: 'text' | 'bytes' | 'stream'
  /** First byte wanted. Default: 0. */
  offset?: number
  /** Bytes wanted; to the end when left out. */
  length?: number
}

/** Options of {@link Files.write}. */
export interface FileWriteOptions extends FileOptions {
  /** Permission bits; those of the file that is there, else 0o644. */
  mode?: number
  /** Owner, name or number; root when left out. */
  user?: string
  /** Make missing parent directories. Default: true. */
  parents?: boolean
  /** Write from this byte on, instead of replacing the file as a whole. */
  offset?: number
}

/** What `watchDir` gives: tells of changes until it is stopped. */
export interface WatchHandle {
  /** Stops watching. */
  stop(): Promise<void>
  /** Resolves when it has ended, rejects when it broke. */
  readonly ended: Promise<void>
}

/** Files of one vm. Got from `vm.files`. Paths are absolute, and the guest's. All methods throw {@link RametApiError}. */
export class Files {
  readonly #transport: Transport
  readonly #base: string

  /** @internal */
  constructor(transport: Transport, vm: string) {
    this.#transport = transport
    this.#base = path`/v1/vms/${vm}/files`
  }

  /**
   * Reads a file. @throws RametApiError `NOT_FOUND`, `GUEST_REFUSED`
   *
   * @example
   * ```ts
   * import { Vm } from 'ramet'
   * await using vm = await Vm.create({ image: 'micro' })
   * await vm.files.write('/tmp/greeting', 'hello')
   * console.log(await vm.files.read('/tmp/greeting'))
   * ```
   */
  read(file: string, options: FileReadOptions & { format: 'bytes' }): Promise<Uint8Array>
  read(file: string, options: FileReadOptions & { format: 'stream' }): Promise<Readable>
  read(file: string, options?: FileReadOptions): Promise<string>
  async read(file: string, options: FileReadOptions = {}): Promise<string | Uint8Array | Readable> {
    const response = await this.#transport.stream({
      path: this.#base,
      query: { path: file, offset: options.offset, length: options.length },
      signal: options.signal,
    })
    if (options.format === 'stream') return response
    const chunks: Buffer[] = []
    for await (const chunk of response) chunks.push(chunk)
    const bytes = Buffer.concat(chunks)
    return options.format === 'bytes' ? new Uint8Array(bytes) : bytes.toString('utf8')
  }

  /** Writes a file, which appears whole or not at all. @throws RametApiError `GUEST_REFUSED`, `TOO_LARGE` */
  write(file: string, content: FileContent, options?: FileWriteOptions): Promise<FileEntry>
  write(files: readonly { path: string; data: FileContent }[], options?: FileWriteOptions): Promise<FileEntry[]>
  async write(
    target: string | readonly { path: string; data: FileContent }[],
    second: FileContent | FileWriteOptions = {},
    third: FileWriteOptions = {},
  ): Promise<FileEntry | FileEntry[]> {
    if (typeof target === 'string') return await this.#write(target, second as FileContent, third)
    const entries: FileEntry[] = []
    for (const { path, data } of target) entries.push(await this.#write(path, data, second as FileWriteOptions))
    return entries
  }

  async #write(file: string, content: FileContent, options: FileWriteOptions): Promise<FileEntry> {
    const body = typeof content === 'string' ? Buffer.from(content) : content
    return await this.#transport.json<FileEntry>({
      method: 'PUT',
      path: this.#base,
      query: {
        path: file,
        mode: options.mode?.toString(8),
        user: options.user,
        parents: options.parents ?? true,
        offset: options.offset,
      },
      headers: {
        'content-type': 'application/octet-stream',
        ...(body instanceof Uint8Array ? { 'content-length': String(body.length) } : {}),
      },
      body,
      signal: options.signal,
    })
  }

  /** Entries of a directory, by name. @throws RametApiError `NOT_FOUND`, `GUEST_REFUSED` when it is none */
  async list(directory: string, options: FileOptions = {}): Promise<FileEntry[]> {
    const request = this.#request('/list', { path: directory }, options)
    return (await this.#transport.json<{ items: FileEntry[] }>(request)).items
  }

  /** Looks at a file or directory; symbolic links are not followed. @throws RametApiError `NOT_FOUND` */
  async getInfo(file: string, options: FileOptions = {}): Promise<FileEntry> {
    return await this.#transport.json<FileEntry>(this.#request('/stat', { path: file }, options))
  }

  /** Whether there is something at a path. */
  async exists(file: string, options: FileOptions = {}): Promise<boolean> {
    try {
      await this.getInfo(file, options)
      return true
    } catch (error) {
      if (error instanceof RametApiError && error.code === 'NOT_FOUND') return false
      throw error
    }
  }

  /** Removes a file, or with `recursive` a directory and what is in it. @throws RametApiError `NOT_FOUND`, `IN_USE` */
  async remove(file: string, options: FileOptions & { recursive?: boolean } = {}): Promise<void> {
    const query = { path: file, recursive: options.recursive ?? false }
    await this.#transport.json({ method: 'DELETE', ...this.#request('', query, options) })
  }

  /** Renames, replacing what has the new name. @throws RametApiError `NOT_FOUND` */
  async rename(from: string, to: string, options: FileOptions = {}): Promise<FileEntry> {
    return await this.#transport.json({ method: 'POST', ...this.#request('/rename', {}, options), json: { from, to } })
  }

  /** Makes a directory and its missing parents. False when it was there already. */
  async makeDir(directory: string, options: FileOptions & { mode?: number } = {}): Promise<boolean> {
    if (await this.exists(directory, options)) return false
    const json = { path: directory, ...(options.mode === undefined ? {} : { mode: options.mode }) }
    await this.#transport.json({ method: 'POST', ...this.#request('/mkdir', {}, options), json })
    return true
  }

  /**
   * Tells of changes in a directory until it is stopped. @throws RametApiError `NOT_FOUND`
   *
   * @example
   * ```ts
   * import { Vm } from 'ramet'
   * await using vm = await Vm.create({ image: 'micro' })
   * const watch = await vm.files.watchDir('/tmp', (event) => console.log(event.type, event.path))
   * await vm.files.write('/tmp/news', '')
   * await watch.stop()
   * ```
   */
  async watchDir(
    directory: string,
    onEvent: (event: FileEvent) => void,
    options: FileOptions & { recursive?: boolean } = {},
  ): Promise<WatchHandle> {
    const stop = new AbortController()
    const signal = options.signal === undefined ? stop.signal : AbortSignal.any([stop.signal, options.signal])
    const query = { path: directory, recursive: options.recursive ?? false }
    const body = await this.#transport.stream({ ...this.#request('/watch', query, {}), signal })
    const follow = async () => {
      try {
        for await (const { data } of serverSentEvents(body)) onEvent(JSON.parse(data) as FileEvent)
      } catch (error) {
        if (!signal.aborted) throw error
      }
    }
    const ended = follow()
    ended.catch(() => {})
    return {
      ended,
      stop: async () => {
        stop.abort()
        await ended.catch(() => undefined)
      },
    }
  }

  #request(suffix: string, query: ApiRequest['query'] & object, options: FileOptions): ApiRequest {
    return { path: this.#base + suffix, query, signal: options.signal }
  }
}
