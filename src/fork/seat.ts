import { createHash } from 'node:crypto'

/**
 * What a vm's place on the host gives it. A seat is a small number that no other vm or armed child of
 * this host has at the time; user id and addresses follow from it, so that nothing has to be allocated twice.
 */

/** Seats start at 2: .0 is the network, .1 the gateway. The last is the broadcast address. */
export const firstSeat = 2
export const lastSeat = 65_534

/** The smallest seat that is free. @returns undefined when all are taken */
export function freeSeat(taken: ReadonlySet<number>): number | undefined {
  for (let seat = firstSeat; seat <= lastSeat; seat += 1) if (!taken.has(seat)) return seat
  return undefined
}

/** Networks of the guests' NICs: 10.77.0.0/16 for the first, 10.78.0.0/16 for the second, and so on. */
const networkOf = (nicIndex: number) => `10.${77 + nicIndex}`

/** Address with prefix length of one NIC. */
export function addressOf(seat: number, nicIndex: number): string {
  return `${networkOf(nicIndex)}.${seat >> 8}.${seat & 255}/16`
}

export function gatewayOf(nicIndex: number): string {
  return `${networkOf(nicIndex)}.0.1`
}

/** 46 bits of the vm's id behind a locally administered prefix; vms of different hosts differ too. */
export function macOf(vmId: string, nicIndex: number): string {
  const digest = createHash('sha256').update(`mac ${nicIndex} ${vmId}`).digest()
  digest[0] = ((digest[0] ?? 0) & 0xfc) | 0x02
  return [...digest.subarray(0, 6)].map((byte) => byte.toString(16).padStart(2, '0')).join(':')
}

/** 32 hexadecimal digits, as in /etc/machine-id. */
export function machineIdOf(vmId: string): string {
  return createHash('sha256').update(`machine-id ${vmId}`).digest('hex').slice(0, 32)
}
