import { Readable } from 'node:stream'
import { z } from 'zod'
import { queryFlag } from '../../api/primitives.ts'
import { type Route, streamRoute } from '../route.ts'
import { vmParams } from './vms.ts'

export const consoleRoutes: Route[] = [
  streamRoute({
    operationId: 'readConsole',
    method: 'GET',
    path: '/v1/vms/{vm}/console',
    tag: 'vms',
    summary: 'Read the console of a vm, and follow it',
    params: vmParams,
    query: z.strictObject({
      tail: z.coerce.number().int().nonnegative().optional().describe('Only the last lines, this many.'),
      follow: queryFlag.default(false).describe('Go on with what comes, until the vm is removed.'),
    }),
    answer: { status: 200, contentType: 'text/plain; charset=utf-8', description: 'The console, as it was written.' },
    errors: ['VM_NOT_FOUND'],
    handle: async ({ engine, params, query }) => {
      const end = new AbortController()
      const options = { tailLines: query.tail, follow: query.follow, signal: end.signal }
      const bytes = await engine.readConsole(params.vm, options)
      const payload = Readable.from(bytes, { objectMode: false })
      payload.once('close', () => end.abort())
      // What a guest prints must never be taken for a page.
      return {
        contentType: 'text/plain; charset=utf-8',
        headers: { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' },
        payload,
        live: query.follow,
      }
    },
  }),
]
