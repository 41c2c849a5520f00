/**
 * Listens on TCP and UDP on all addresses, and says every contact as a line. Run as a program, it does so where it
 * was started, which may be another network namespace: `listener.ts PORT [HOST]`.
 */
import { createSocket } from 'node:dgram'
import { createServer } from 'node:net'
import process from 'node:process'

export interface Listener {
  port: number
  close: () => Promise<void>
}

/** Answers HTTP with `hello`, datagrams with `pong`, and whoever begins with a line `echo` with what it says then. */
export async function listen(port: number, onContact: (contact: string) => void, host = '::'): Promise<Listener> {
  const server = createServer((socket) => {
    onContact(`tcp ${socket.localAddress?.replace('::ffff:', '')}`)
    socket.on('error', () => {})
    socket.once('data', (first) => {
      const line = first.indexOf('\n')
      if (first.toString('latin1', 0, line) !== 'echo') return socket.end('HTTP/1.0 200 OK\r\n\r\nhello\n')
      socket.unshift(first.subarray(line + 1))
      return socket.pipe(socket)
    })
  })
  await new Promise<void>((resolve) => server.listen(port, host, resolve))
  const address = server.address()
  const taken = typeof address === 'object' && address !== null ? address.port : port
  const udp = createSocket({ type: host.includes(':') ? 'udp6' : 'udp4' }, (message, from) => {
    onContact(`udp ${message.toString()}`)
    udp.send('pong', from.port, from.address)
  })
  await new Promise<void>((resolve) => udp.bind(taken, host, resolve))
  return {
    port: taken,
    close: async () => {
      await new Promise<void>((resolve) => udp.close(() => resolve()))
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}

if (import.meta.main) {
  await listen(Number(process.argv[2]), (contact) => process.stdout.write(`${contact}\n`), process.argv[3])
  process.stdout.write('listening\n')
}
