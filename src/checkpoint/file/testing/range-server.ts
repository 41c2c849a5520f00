import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface RangeRequestSeen {
  readonly first: number
  readonly last: number
  readonly message: IncomingMessage
}

/** Takes an answer over; `false` leaves it to the server. */
export type Misbehaviour = (seen: RangeRequestSeen, response: ServerResponse) => boolean

export interface RangeServer extends AsyncDisposable {
  readonly url: string
  /** ranges asked for so far */
  readonly seen: RangeRequestSeen[]
  /** asked about each request; exchange it at any time */
  misbehave: Misbehaviour
  /** what is served; exchange it at any time */
  content: Buffer
  etag: string
}

/** A server on loopback that answers ranges of some bytes as it should, or as a test would have it. */
export async function serveRanges(bytes: Buffer): Promise<RangeServer> {
  const http = createServer((message, response) => {
    const [, first = 0, last = 0] = /^bytes=(\d+)-(\d+)$/.exec(message.headers.range ?? '')?.map(Number) ?? []
    const seen = { first, last, message }
    server.seen.push(seen)
    if (server.misbehave(seen, response)) return
    answerRange(server, seen, response)
  })
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  const server: RangeServer = {
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/a.ckpt?key=secret`,
    seen: [],
    misbehave: () => false,
    content: bytes,
    etag: '"one"',
    [Symbol.asyncDispose]: async () => {
      const closed = once(http, 'close')
      http.close()
      http.closeAllConnections()
      await closed
    },
  }
  return server
}

/** The answer that a server owes. */
export function answerRange(
  { content, etag }: Pick<RangeServer, 'content' | 'etag'>,
  { first, last }: Pick<RangeRequestSeen, 'first' | 'last'>,
  response: ServerResponse,
): void {
  assert.ok(first <= last)
  if (first >= content.length)
    return void response.writeHead(416, { 'content-range': `bytes */${content.length}` }).end()
  const end = Math.min(last + 1, content.length)
  const headers = {
    'content-range': `bytes ${first}-${end - 1}/${content.length}`,
    'content-length': end - first,
    etag,
  }
  response.writeHead(206, headers).end(content.subarray(first, end))
}
