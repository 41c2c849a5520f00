import websocket from '@fastify/websocket'
import type { FastifyInstance, RawServerDefault } from 'fastify'
import { closeCodes, execSubprotocol } from '../api/exec-socket.ts'
import { limits } from '../shared/limits.ts'

/** How long a client may take to answer the close of a daemon that stops, milliseconds. */
const farewellMs = 1000

export async function addWebSockets(app: FastifyInstance<RawServerDefault>): Promise<void> {
  await app.register(websocket, {
    options: {
      maxPayload: limits.requestBodyBytes,
      perMessageDeflate: false,
      handleProtocols: (protocols: Set<string>) => (protocols.has(execSubprotocol) ? execSubprotocol : false),
    },
    preClose(done) {
      const { clients } = this.websocketServer
      // Clients learn that they can attach again, and no process is taken for abandoned.
      for (const client of clients) client.close(closeCodes.goingAway, 'the daemon stops')
      const impatience = setTimeout(() => {
        for (const client of clients) client.terminate()
      }, farewellMs)
      this.websocketServer.close(() => {
        clearTimeout(impatience)
        done()
      })
    },
  })
}
