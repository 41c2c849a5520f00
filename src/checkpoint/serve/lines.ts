import type { Socket } from 'node:net'
import { LineSplitter } from '../../qemu/qmp-wire.ts'
import { RametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'

/**
 * Hands over each line that arrives. A peer that sends a longer one than the limit is cut off.
 *
 * @param take must not throw
 */
export function readLines(socket: Socket, take: (line: string) => void): void {
  const lines = new LineSplitter(limits.pageServerLineBytes, tooLong)
  socket.on('data', (chunk: Buffer) => {
    try {
      for (const line of lines.push(chunk)) take(line)
    } catch (error) {
      socket.destroy(error instanceof Error ? error : undefined)
    }
  })
}

const tooLong = (maxBytes: number) =>
  new RametError('INVALID_ARGUMENT', { message: `a line of more than ${maxBytes} bytes` })
