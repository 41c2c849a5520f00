import { connect, createServer, type Server, type Socket } from 'node:net'

/**
 * Stands between a link and its agent, and cuts connections in the middle of whatever passes: the n-th connection
 * after the n-th number of bytes in either direction, later ones never.
 */
export class CuttingProxy implements AsyncDisposable {
  readonly path: string
  connectionCount = 0
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  private constructor(path: string, target: string, cutAfterBytes: readonly number[]) {
    this.path = path
    this.#server = createServer((host) => {
      let left = cutAfterBytes[this.connectionCount] ?? Number.POSITIVE_INFINITY
      this.connectionCount += 1
      const guest = connect({ path: target })
      const cut = () => {
        host.destroy()
        guest.destroy()
      }
      const carry = (from: Socket, to: Socket) => {
        this.#sockets.add(from)
        from.on('data', (chunk: Buffer) => {
          const passed = chunk.subarray(0, Math.min(chunk.length, left))
          left -= passed.length
          const flows = to.write(passed, () => {
            if (left === 0) cut()
          })
          if (!flows) from.pause()
        })
        to.on('drain', () => from.resume())
        from.on('error', () => {})
        from.on('close', () => {
          this.#sockets.delete(from)
          cut()
        })
      }
      carry(host, guest)
      carry(guest, host)
    })
  }

  static async listen(path: string, target: string, cutAfterBytes: readonly number[]): Promise<CuttingProxy> {
    const proxy = new CuttingProxy(path, target, cutAfterBytes)
    await new Promise<void>((resolve) => proxy.#server.listen(path, resolve))
    return proxy
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}
