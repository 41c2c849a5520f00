import assert from 'node:assert/strict'
import type { Vm } from '../../src/client/index.ts'
import { diskBlocks, diskSizes, memoryPages, Sheet, type Write } from './fork-model.ts'
import { buildGuestProgram } from './guest-program.ts'

const program = '/tmp/scribe'

/** What a guest says that it holds. */
export interface Reading {
  memory: Sheet
  disks: Sheet[]
  /** pages whose content is nobody's, as the guest describes them */
  broken: string[]
  /** `alive`, `none`, `dead`, or why it failed */
  pulse: string
}

/** The program that writes and reads numbered pages in guests (`scribe.c`). */
export const buildScribe = (): Promise<Buffer> => buildGuestProgram('scribe')

/** Puts it into a guest that booted, and starts the pulse. */
export async function installScribe(vm: Vm, scribe: Buffer): Promise<void> {
  await vm.files.write(program, scribe, { mode: 0o755 })
  // The pulse clears the blocks it counts in first, so the disks of a clone may hold an older count.
  await vm.commands.run([program, 'pulse', String(diskSizes.length)], { background: true })
  await vm.commands.run('until [ -e /tmp/scribe.pulse ]; do sleep 0.05; done')
}

/** Does all writes, in order; what is on disk is durable then. */
export async function write(vm: Vm, writes: readonly Write[]): Promise<void> {
  const orders = writes.map(({ where, way, index, count, number, stride = 1 }) => {
    if (where === 'memory') return `m ${index} ${count} ${number}`
    if (way === 'write') return `d ${where} ${index} ${count} ${number} ${stride}`
    return `${way === 'zero' ? 'z' : 'x'} ${where} ${index} ${count}`
  })
  await vm.commands.run([program, 'write'], { stdin: `${orders.join('\n')}\n` })
}

/** Reads everything back. */
export async function read(vm: Vm): Promise<Reading> {
  const { stdout } = await vm.commands.run([program, 'read', String(memoryPages), ...diskBlocks.map(String)])
  const reading: Reading = { memory: new Sheet(), disks: diskSizes.map(() => new Sheet()), broken: [], pulse: '' }
  for (const line of stdout.trim().split('\n')) {
    const [, memory, disk, index, count, number] = /^(?:(m)|d (\d)) (\d+) (\d+) (-?\d+)$/.exec(line) ?? []
    const sheet = memory === undefined ? reading.disks[Number(disk)] : reading.memory
    if (line.startsWith('pulse ')) reading.pulse = line.slice('pulse '.length).trim()
    else if (line.startsWith('? ')) reading.broken.push(line.slice(2))
    else if (sheet === undefined) assert.fail(`the guest says “${line}”`)
    else sheet.set({ index: Number(index), count: Number(count), number: Number(number) })
  }
  return reading
}
