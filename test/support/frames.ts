/** Ethernet frames as only a hostile guest makes them: to any address, whatever its own kernel would say. */

export interface FrameTarget {
  /** dotted IPv4 address, or `::1` and the like */
  address: string
  port: number
}

const anyMac = Buffer.from('ffffffffffff', 'hex')
const ownMac = Buffer.from('021122334455', 'hex')
const protocols = { tcp: 6, udp: 17 } as const

/** One UDP datagram, from the guest at `source`. */
export function udpFrame(source: string, sourcePort: number, target: FrameTarget, text: string): Buffer {
  const payload = Buffer.from(text)
  const header = Buffer.alloc(8)
  header.writeUInt16BE(sourcePort, 0)
  header.writeUInt16BE(target.port, 2)
  header.writeUInt16BE(8 + payload.length, 4)
  return ipv4Frame(protocols.udp, source, target.address, Buffer.concat([header, payload]))
}

/** The first packet of a TCP connection. */
export function synFrame(source: string, sourcePort: number, target: FrameTarget): Buffer {
  const header = Buffer.alloc(20)
  header.writeUInt16BE(sourcePort, 0)
  header.writeUInt16BE(target.port, 2)
  header.writeUInt32BE(1000, 4)
  header[12] = 0x50
  header[13] = 0x02
  header.writeUInt16BE(65_535, 14)
  const pseudo = Buffer.concat([ipv4Bytes(source), ipv4Bytes(target.address), Buffer.from([0, protocols.tcp, 0, 20])])
  header.writeUInt16BE(checksum(Buffer.concat([pseudo, header])), 16)
  return ipv4Frame(protocols.tcp, source, target.address, header)
}

/** One UDP datagram over IPv6 to the loopback address, from a link-local one. */
export function udp6LoopbackFrame(sourcePort: number, port: number): Buffer {
  const datagram = Buffer.from('00000000000c0000', 'hex')
  datagram.writeUInt16BE(sourcePort, 0)
  datagram.writeUInt16BE(port, 2)
  const body = Buffer.concat([datagram, Buffer.from('six!')])
  const header = Buffer.from(`60000000000c1140${'fe80'.padEnd(30, '0')}02${'1'.padStart(32, '0')}`, 'hex')
  const pseudo = Buffer.concat([header.subarray(8), Buffer.from([0, 0, 0, body.length, 0, 0, 0, protocols.udp])])
  body.writeUInt16BE(checksum(Buffer.concat([pseudo, body])), 6)
  return Buffer.concat([anyMac, ownMac, Buffer.from('86dd', 'hex'), header, body])
}

function ipv4Frame(protocol: number, source: string, destination: string, payload: Buffer): Buffer {
  const header = Buffer.alloc(20)
  header[0] = 0x45
  header.writeUInt16BE(20 + payload.length, 2)
  header[8] = 64
  header[9] = protocol
  ipv4Bytes(source).copy(header, 12)
  ipv4Bytes(destination).copy(header, 16)
  header.writeUInt16BE(checksum(header), 10)
  return Buffer.concat([anyMac, ownMac, Buffer.from('0800', 'hex'), header, payload])
}

const ipv4Bytes = (address: string) => Buffer.from(address.split('.').map(Number))

function checksum(bytes: Buffer): number {
  let sum = 0
  for (let at = 0; at + 1 < bytes.length; at += 2) sum += bytes.readUInt16BE(at)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return ~sum & 0xffff
}
