import { z } from 'zod'
import { TcpPort } from './primitives.ts'

const hostAddress = z
  .union([z.ipv4(), z.ipv6()])
  .describe('Address on the host that listens; anything but loopback opens the port to others.')

/** Asks for a guest's TCP port to be reachable on the host, through the agent's tunnel. */
export const PortPublish = z
  .strictObject({
    guestPort: TcpPort.describe('TCP port in the guest.'),
    hostPort: TcpPort.optional().describe('TCP port on the host; a free one when left out.'),
    hostAddress: hostAddress.default('127.0.0.1'),
  })
  .meta({ id: 'PortPublish', description: 'A guest port to publish.', examples: [{ guestPort: 8080 }] })
export type PortPublish = z.infer<typeof PortPublish>

export const Port = z
  .object({
    guestPort: TcpPort.describe('TCP port in the guest.'),
    hostPort: TcpPort.describe('TCP port on the host.'),
    hostAddress: z.string().describe('Address on the host that listens.'),
  })
  .meta({ id: 'Port', description: 'A published guest port.' })
export type Port = z.infer<typeof Port>

export const PortList = z.object({ items: z.array(Port).describe('Published ports.') }).meta({ id: 'PortList' })
