/**
 * Who may call. Over the unix socket: whoever may open it. Over loopback HTTP: whoever has the token;
 * and because any web page can make a browser send requests to loopback, the Host header must be one
 * of ours (DNS rebinding) and a request that says which page it comes from is refused (forgery).
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { RametError } from '../shared/errors.ts'

export interface HttpAccess {
  token: string
  /** names and addresses by which it may be called, beside loopback */
  hosts?: readonly string[]
  /** pages that may call, as `https://example.org:8443`; none by default */
  origins?: readonly string[]
}

const loopbackHosts = ['localhost', '127.0.0.1', '[::1]']

/** @throws RametError `FORBIDDEN` */
export function checkOrigin(headers: IncomingHttpHeaders, origins: readonly string[] = []): void {
  const { origin } = headers
  if (origin !== undefined && !origins.includes(origin))
    throw new RametError('FORBIDDEN', { message: 'requests from web pages are refused (Origin header)' })
  const site = headers['sec-fetch-site']
  if (origin === undefined && (site === 'cross-site' || site === 'same-site'))
    throw new RametError('FORBIDDEN', { message: 'requests from web pages are refused (Sec-Fetch-Site header)' })
}

/** @throws RametError `FORBIDDEN` */
export function checkHost(headers: IncomingHttpHeaders, hosts: readonly string[] = []): void {
  const host = (headers.host ?? '').toLowerCase().replace(/:\d+$/, '')
  if (!loopbackHosts.includes(host) && !hosts.includes(host))
    throw new RametError('FORBIDDEN', {
      message: 'the Host header names no address of this daemon',
      remediation: 'Call it as localhost or 127.0.0.1.',
    })
}

/** @throws RametError `UNAUTHORIZED` */
export function checkToken(headers: IncomingHttpHeaders, token: string): void {
  const match = /^Bearer +([^\s]+)$/i.exec(headers.authorization ?? '')
  // Hashes have one length whatever was sent, so that the comparison takes one time.
  const given = sha256(match?.[1] ?? '')
  if (!timingSafeEqual(given, sha256(token)) || match === null)
    throw new RametError('UNAUTHORIZED', {
      message: match === null ? 'no bearer token was sent' : 'the bearer token is not the right one',
    })
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
