import type { PortPublish } from '../../api/port.ts'
import { RametError } from '../../shared/errors.ts'

export type PortText = Omit<PortPublish, 'hostAddress'> & { hostAddress?: string }

/** `8080`, `8080:80` (guest:host) or `8080:0.0.0.0:80` (guest:address:host). @throws RametError `INVALID_ARGUMENT` */
export function parsePort(text: string): PortText {
  const match = /^(\d+)(?::(?:(\[[0-9a-fA-F:]+\]|[0-9.]+):)?(\d+))?$/.exec(text)
  const guestPort = tcpPort(match?.[1])
  const hostPort = match?.[3] === undefined ? undefined : tcpPort(match[3])
  if (match === null || guestPort === undefined || (match[3] !== undefined && hostPort === undefined))
    throw new RametError('INVALID_ARGUMENT', {
      message: `“${text}” is not a port`,
      remediation: 'Write GUEST, GUEST:HOST or GUEST:ADDRESS:HOST, for example 8080:18080.',
    })
  return {
    guestPort,
    ...(hostPort === undefined ? {} : { hostPort }),
    ...(match[2] === undefined ? {} : { hostAddress: match[2].replace(/^\[|\]$/g, '') }),
  }
}

function tcpPort(text: string | undefined): number | undefined {
  const value = Number(text)
  return Number.isInteger(value) && value >= 1 && value <= 65535 ? value : undefined
}
