/** For tests of this room: a real QEMU that never runs a guest, with given bytes in its RAM. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { OpenBase } from '../base.ts'

export interface PausedQemu extends AsyncDisposable {
  pid: number
  /** runs a command of the human monitor, returns its text */
  monitor(command: string): Promise<string>
}

export interface PausedQemuOptions {
  sizeBytes: number
  base?: OpenBase
  /** files put into RAM at machine reset, by guest-physical address */
  load?: { file: string; address: number }[]
  uid?: number
}

export async function startPausedQemu(options: PausedQemuOptions): Promise<PausedQemu> {
  const { sizeBytes, base, load = [], uid } = options
  const backend =
    base === undefined
      ? `memory-backend-ram,id=ram,size=${sizeBytes},share=off`
      : `memory-backend-file,id=ram,size=${sizeBytes},share=off,mem-path=/proc/self/fd/3`
  const loaders = load.flatMap(({ file, address }) => ['-device', `loader,file=${file},addr=${address},force-raw=on`])
  const child = spawn(
    'qemu-system-x86_64',
    ['-M', 'q35,memory-backend=ram', '-accel', 'tcg', '-S', '-nodefaults', '-display', 'none'].concat(
      ['-m', `${sizeBytes / 1024}k`, '-object', backend, '-sandbox', 'on,spawn=deny', '-qmp', 'stdio'],
      loaders,
    ),
    { stdio: ['pipe', 'pipe', 'inherit', base?.fd ?? 'ignore'], ...(uid === undefined ? {} : { uid, gid: uid }) },
  )
  assert.ok(child.pid)
  const replies = replyReader(child)
  await replies.next()
  const call = async (execute: string, args: object = {}) => {
    child.stdin?.write(`${JSON.stringify({ execute, arguments: args })}\n`)
    return (await replies.next()).value
  }
  await call('qmp_capabilities')
  return {
    pid: child.pid,
    monitor: async (command) => String((await call('human-monitor-command', { 'command-line': command })).return),
    [Symbol.asyncDispose]: async () => {
      const ended = child.exitCode !== null || child.signalCode !== null ? undefined : once(child, 'exit')
      child.kill('SIGKILL')
      await ended
    },
  }
}

async function* replyReader(child: ChildProcess): AsyncGenerator<{ return?: unknown }> {
  let text = ''
  for await (const chunk of child.stdout ?? []) {
    text += chunk
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
      const line = JSON.parse(text.slice(0, end))
      text = text.slice(end + 1)
      if (!('event' in line)) yield line
    }
  }
}
