import type { Socket } from 'node:net'

/** Sends bytes to a server that echoes; resolves with as many as were sent. */
export function echoThrough(socket: Socket, sent: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let bytes = 0
    socket.on('data', (chunk) => {
      chunks.push(chunk)
      bytes += chunk.length
      if (bytes < sent.length) return
      socket.destroy()
      resolve(Buffer.concat(chunks))
    })
    socket.once('error', reject)
    socket.once('close', () => reject(new Error(`the connection ended after ${bytes} of ${sent.length} bytes`)))
    socket.write(sent)
  })
}
