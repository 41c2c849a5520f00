/**
 * The floor: the least that a fork by stock QEMU takes. A QEMU that waits already (`-incoming defer`, on the same
 * base, with the same machine), and then, one awaited reply per command: `migrate-incoming`, the stream, `completed`;
 * `cont`, RESUME. No daemon, no database, no identity. Nothing here comes from the engine.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, constants, openSync, watch } from 'node:fs'
import { rm } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import type { Writable } from 'node:stream'
import { promisify } from 'node:util'
import type { Specimen } from './specimen.ts'

export interface FloorSample {
  loadMs: number
  resumeMs: number
  runningMs: number
  [stage: string]: number
}

/** Starts a QEMU and asks nothing of it but to wait. @param dir empty directory, its working directory */
export async function armFloor(specimen: Specimen, dir: string, signal: AbortSignal): Promise<ArmedFloor> {
  for (const { name, basePath, sizeBytes } of specimen.disks) {
    const backing = basePath === undefined ? [] : ['-b', basePath, '-F', 'qcow2']
    await promisify(execFile)('qemu-img', ['create', '-q', '-f', 'qcow2', ...backing, join(dir, name), `${sizeBytes}`])
  }
  // Sealed against writing, but QEMU opens it for reading and writing all the same.
  const base = openSync(`/proc/${specimen.pid}/fd/4`, constants.O_RDWR)
  const child = spawn('qemu-system-x86_64', specimen.args, {
    cwd: dir,
    stdio: ['ignore', 'ignore', 'ignore', 'pipe', base],
    killSignal: 'SIGKILL',
    signal,
  })
  child.on('error', () => {})
  closeSync(base)
  const qmp = await Qmp.connect(join(dir, 'qmp.sock'), dir, child)
  await qmp.execute('qmp_capabilities')
  await qmp.execute('migrate-set-capabilities', { capabilities: [{ capability: 'events', state: true }] })
  return new ArmedFloor(child, qmp, dir, specimen.stream)
}

export class ArmedFloor {
  readonly #child: ChildProcess
  readonly #qmp: Qmp
  readonly #dir: string
  readonly #stream: Buffer

  constructor(child: ChildProcess, qmp: Qmp, dir: string, stream: Buffer) {
    this.#child = child
    this.#qmp = qmp
    this.#dir = dir
    this.#stream = stream
  }

  async fork(): Promise<FloorSample> {
    const startMs = performance.now()
    const completed = this.#qmp.event('MIGRATION', (data) => data.status === 'completed')
    await this.#qmp.execute('migrate-incoming', { uri: 'fd:3' })
    const incoming = this.#child.stdio[3] as Writable
    incoming.end(this.#stream)
    await completed
    const loadedMs = performance.now()
    const resumed = this.#qmp.event('RESUME')
    await this.#qmp.execute('cont')
    await resumed
    const runningMs = performance.now()
    return { loadMs: loadedMs - startMs, resumeMs: runningMs - loadedMs, runningMs: runningMs - startMs }
  }

  async end(): Promise<void> {
    this.#qmp.close()
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const exited = once(this.#child, 'exit')
      this.#child.kill('SIGKILL')
      await exited
    }
    await rm(this.#dir, { recursive: true, force: true })
  }
}

type Message = { event?: string; data?: Record<string, unknown>; return?: unknown; error?: { desc: string } }

/** A signal that aborts at the end of the block. */
class Turn extends AbortController implements Disposable {
  [Symbol.dispose](): void {
    this.abort()
  }
}

/** As much of QMP as this needs. */
class Qmp {
  readonly #socket: Socket
  readonly #waiting: { takes: (message: Message) => boolean; resolve: (message: Message) => void }[] = []
  #text = ''

  constructor(socket: Socket) {
    this.#socket = socket
    socket.setEncoding('utf8').on('data', (text: string) => this.#receive(text))
    socket.on('error', () => {})
  }

  static async connect(path: string, dir: string, child: ChildProcess): Promise<Qmp> {
    const watcher = watch(dir)
    const ended = once(child, 'exit').then(() => Promise.reject(new Error('the QEMU of the floor ended')))
    ended.catch(() => {})
    try {
      for (;;) {
        // Of listeners that wait for nothing any more there would be many, where QEMU is slow to start.
        using turn = new Turn()
        const changed = once(watcher, 'change', { signal: turn.signal }).catch(() => {})
        const socket = connect(path)
        const opened = await Promise.race([
          once(socket, 'connect').then(
            () => true,
            () => false,
          ),
          ended,
        ])
        if (opened) return new Qmp(socket)
        await Promise.race([changed, ended, new Promise((resolve) => setTimeout(resolve, 10))])
      }
    } finally {
      watcher.close()
    }
  }

  async execute(command: string, args?: object): Promise<void> {
    const reply = this.#next((message) => 'return' in message || 'error' in message)
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`)
    const { error } = await reply
    if (error !== undefined) throw new Error(`${command}: ${error.desc}`)
  }

  async event(name: string, holds: (data: Record<string, unknown>) => boolean = () => true): Promise<void> {
    await this.#next((message) => message.event === name && holds(message.data ?? {}))
  }

  close(): void {
    this.#socket.destroy()
  }

  #next(takes: (message: Message) => boolean): Promise<Message> {
    return new Promise((resolve) => this.#waiting.push({ takes, resolve }))
  }

  #receive(text: string): void {
    const lines = (this.#text + text).split('\n')
    this.#text = lines.pop() ?? ''
    for (const line of lines) {
      const message = JSON.parse(line) as Message
      const index = this.#waiting.findIndex(({ takes }) => takes(message))
      if (index >= 0) this.#waiting.splice(index, 1)[0]?.resolve(message)
    }
  }
}
