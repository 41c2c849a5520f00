/** The filter of what may leave a guest's user network, as instructions of the kernel's packet machine. */

/**
 * Not to be reached from a guest, beside every address of the host itself: “this network” (0.0.0.0 means
 * the host to a Linux socket), loopback, link-local with its cloud metadata, multicast and what is reserved.
 */
export const forbiddenNetworks = ['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/4', '240.0.0.0/4'] as const

/** The loopback device has this number in every network namespace. */
const loopbackIndex = 1
/** `ETH_P_IP` in network order, as a little-endian machine reads it. */
const protocolIpv4 = 0x0008
/** Offsets in `struct __sk_buff`, bytes. */
const field = { protocol: 16, interfaceIndex: 40 } as const
/** Offset of the destination in an IPv4 header, bytes. */
const destinationOffset = 16
const helperLoadBytes = 26

const op = {
  load32: 0x61,
  move: 0xbf,
  move32: 0xbc,
  moveImmediate: 0xb7,
  addImmediate: 0x07,
  shiftRight32: 0x74,
  toBigEndian: 0xdc,
  jumpIfEqual: 0x15,
  jumpIfNotEqual: 0x55,
  call: 0x85,
  exit: 0x95,
} as const

/**
 * Lets a packet pass unless it
 * - leaves by the loopback device, as all packets to addresses of the host do, whatever they are,
 * - is not IPv4, or
 * - goes to one of the networks.
 *
 * It looks at the packet itself, after routing, so it does not matter by which address a socket was told to go.
 */
export function egressProgram(networks: readonly string[] = forbiddenNetworks): Buffer {
  const program = new Program()
  program.add(op.move, 6, 1)
  program.add(op.load32, 2, 6, field.interfaceIndex)
  program.dropIf(op.jumpIfEqual, 2, loopbackIndex)
  program.add(op.load32, 2, 6, field.protocol)
  program.dropIf(op.jumpIfNotEqual, 2, protocolIpv4)
  // load_bytes(packet, offset of the destination, stack - 4, 4)
  program.add(op.move, 1, 6)
  program.add(op.moveImmediate, 2, 0, 0, destinationOffset)
  program.add(op.move, 3, 10)
  program.add(op.addImmediate, 3, 0, 0, -4)
  program.add(op.moveImmediate, 4, 0, 0, 4)
  program.add(op.call, 0, 0, 0, helperLoadBytes)
  program.dropIf(op.jumpIfNotEqual, 0, 0)
  program.add(op.load32, 2, 10, -4)
  program.add(op.toBigEndian, 2, 0, 0, 32)
  for (const network of networks) {
    const { prefix, bits } = parseNetwork(network)
    program.add(op.move32, 3, 2)
    program.add(op.shiftRight32, 3, 0, 0, 32 - bits)
    program.dropIf(op.jumpIfEqual, 3, prefix)
  }
  return program.finish()
}

/** The leading bits of a network as a number, and how many they are. */
function parseNetwork(network: string): { prefix: number; bits: number } {
  const [address = '', length = '32'] = network.split('/')
  const bits = Number(length)
  const value = address.split('.').reduce((sum, byte) => sum * 256 + Number(byte), 0)
  return { prefix: Math.floor(value / 2 ** (32 - bits)), bits }
}

/** Instructions of 8 bytes each: code, registers, jump offset, immediate value. */
class Program {
  readonly #instructions: Buffer[] = []
  readonly #drops: Buffer[] = []

  add(code: number, target: number, source = 0, offset = 0, immediate = 0): Buffer {
    const instruction = Buffer.alloc(8)
    instruction[0] = code
    instruction[1] = (source << 4) | target
    instruction.writeInt16LE(offset, 2)
    instruction.writeInt32LE(immediate, 4)
    this.#instructions.push(instruction)
    return instruction
  }

  dropIf(code: number, register: number, immediate: number): void {
    this.#drops.push(this.add(code, register, 0, 0, immediate))
  }

  /** Ends with: pass (1), and behind it drop (0), where all jumps lead. */
  finish(): Buffer {
    this.#return(1)
    const dropAt = this.#instructions.length
    this.#return(0)
    for (const jump of this.#drops) jump.writeInt16LE(dropAt - this.#instructions.indexOf(jump) - 1, 2)
    return Buffer.concat(this.#instructions)
  }

  #return(value: 0 | 1): void {
    this.add(op.moveImmediate, 0, 0, 0, value)
    this.add(op.exit, 0)
  }
}
