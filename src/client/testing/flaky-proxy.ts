import { connect, createServer, type Server, type Socket } from 'node:net'

/** Stands between a client and a socket, and breaks connections after so many bytes came down, as a crash would. */
export class FlakyProxy implements AsyncDisposable {
  readonly #server: Server
  readonly #open = new Set<Socket>()
  /** bytes that the next connections let down before they break; none left: they hold */
  readonly budgets: number[] = []
  connections = 0

  private constructor(socketPath: string) {
    this.#server = createServer((client) => {
      this.connections += 1
      const upstream = connect(socketPath)
      let budget = this.budgets.shift()
      for (const socket of [client, upstream]) {
        this.#open.add(socket)
        socket.on('error', () => {})
        socket.on('close', () => {
          this.#open.delete(socket)
          client.destroy()
          upstream.destroy()
        })
      }
      client.pipe(upstream)
      upstream.on('data', (chunk: Buffer) => {
        if (budget !== undefined && chunk.length >= budget) {
          client.write(chunk.subarray(0, budget), () => client.destroy())
          upstream.destroy()
          return
        }
        if (budget !== undefined) budget -= chunk.length
        client.write(chunk)
      })
    })
  }

  static async start(listenPath: string, socketPath: string): Promise<FlakyProxy> {
    const proxy = new FlakyProxy(socketPath)
    await new Promise<void>((resolve) => proxy.#server.listen(listenPath, resolve))
    return proxy
  }

  breakAll(): void {
    for (const socket of this.#open) socket.destroy()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.breakAll()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}
