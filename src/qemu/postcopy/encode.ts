/**
 * What the source of a postcopy migration sends beside an ordinary stream, as pure functions. The numbers are
 * QEMU's (migration/savevm.c, migration/ram.c); all integers are big-endian.
 */
import { assert } from '../../shared/assert.ts'
import { pageBytes, ramFlag, ramSectionId, sectionType } from '../migration-stream/wire.ts'

export const command = {
  openReturnPath: 1,
  ping: 2,
  postcopyAdvise: 3,
  postcopyListen: 4,
  postcopyRun: 5,
  postcopyRamDiscard: 6,
  packaged: 7,
  postcopyResume: 9,
  receivedBitmap: 10,
} as const

/** The length of a command is told in 16 bits. */
const rangesPerDiscard = 4_000

export interface ByteRange {
  /** from the start of the block, page aligned */
  readonly offsetBytes: number
  readonly lengthBytes: number
}

export const encodeOpenReturnPath = (): Buffer => encodeCommand(command.openReturnPath)

/** Answered by a pong with the same value. */
export function encodePing(value: number): Buffer {
  const payload = Buffer.alloc(4)
  payload.writeUInt32BE(value)
  return encodeCommand(command.ping, payload)
}

/** Pages of 4 KiB in all blocks; from then on every block of the destination is empty. */
export function encodeAdvise(): Buffer {
  const payload = Buffer.alloc(16)
  payload.writeBigUInt64BE(BigInt(pageBytes), 0)
  payload.writeBigUInt64BE(BigInt(pageBytes), 8)
  return encodeCommand(command.postcopyAdvise, payload)
}

/** What of a block was not sent before the guest runs. At least one such command must come before LISTEN. */
export function encodeDiscard(block: string, ranges: readonly ByteRange[]): Buffer {
  assert(ranges.length > 0, 'a discard names a range')
  const commands: Buffer[] = []
  for (let at = 0; at < ranges.length; at += rangesPerDiscard) {
    const some = ranges.slice(at, at + rangesPerDiscard)
    const body = Buffer.alloc(16 * some.length)
    for (const [index, { offsetBytes, lengthBytes }] of some.entries()) {
      body.writeBigUInt64BE(BigInt(offsetBytes), 16 * index)
      body.writeBigUInt64BE(BigInt(lengthBytes), 16 * index + 8)
    }
    const payload = Buffer.concat([Buffer.from([0]), encodeName(block), Buffer.from([0]), body])
    commands.push(encodeCommand(command.postcopyRamDiscard, payload))
  }
  return Buffer.concat(commands)
}

/**
 * Devices and the order to run, in one piece: loading devices touches memory already, and what it waits for comes
 * over the same connection.
 */
export function encodePackage(deviceBlob: Buffer): Buffer {
  const content = Buffer.concat([
    encodeCommand(command.postcopyListen),
    deviceBlob,
    encodePing(3),
    encodeCommand(command.postcopyRun),
  ])
  const length = Buffer.alloc(4)
  length.writeUInt32BE(content.length)
  return Buffer.concat([encodeCommand(command.packaged, length), content])
}

/** Asks for the pages that a block has, on a new connection after the one before broke. */
export const encodeReceivedBitmap = (block: string): Buffer => encodeCommand(command.receivedBitmap, encodeName(block))

export const encodeResume = (): Buffer => encodeCommand(command.postcopyResume)

/** Opens a section of RAM, which stays open for all records that follow. */
export function encodePartStart(): Buffer {
  const bytes = Buffer.alloc(5)
  bytes.writeUInt8(sectionType.part, 0)
  bytes.writeUInt32BE(ramSectionId, 1)
  return bytes
}

/**
 * What stands before a page: its bytes follow, or one byte for a page that is full of it. Without a block's name it is of
 * the same block as the record before it, on the same connection.
 */
export function encodePageHead(offsetBytes: number, isZero: boolean, block?: string): Buffer {
  assert(Number.isSafeInteger(offsetBytes) && offsetBytes % pageBytes === 0, 'a whole page')
  const flags = (isZero ? ramFlag.zero : ramFlag.page) | (block === undefined ? ramFlag.continue : 0)
  const head = Buffer.allocUnsafe(8)
  // Twice as fast as one number of 64 bits, which would have to be made first.
  head.writeUInt32BE(Math.floor(offsetBytes / 2 ** 32), 0)
  head.writeUInt32BE((offsetBytes % 2 ** 32) + flags, 4)
  return block === undefined ? head : Buffer.concat([head, encodeName(block)])
}

/** The end of the section that is open, of RAM, and of the stream. */
export function encodeEnd(): Buffer {
  const footer = Buffer.alloc(5)
  footer.writeUInt8(sectionType.footer, 0)
  footer.writeUInt32BE(ramSectionId, 1)
  const endOfRecords = Buffer.alloc(8)
  endOfRecords.writeBigUInt64BE(BigInt(ramFlag.eos))
  const end = Buffer.alloc(5)
  end.writeUInt8(sectionType.end, 0)
  end.writeUInt32BE(ramSectionId, 1)
  return Buffer.concat([endOfRecords, footer, end, endOfRecords, footer, Buffer.from([sectionType.eof])])
}

function encodeCommand(number: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(5)
  head.writeUInt8(sectionType.command, 0)
  head.writeUInt16BE(number, 1)
  head.writeUInt16BE(payload.length, 3)
  return Buffer.concat([head, payload])
}

function encodeName(text: string): Buffer {
  const bytes = Buffer.from(text)
  assert(bytes.length > 0 && bytes.length <= 255, 'a name of 1 to 255 bytes')
  return Buffer.concat([Buffer.from([bytes.length]), bytes])
}
