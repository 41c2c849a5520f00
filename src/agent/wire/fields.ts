import { RametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import { type FieldName, type Fields, fieldsByKey, fieldTable } from './field-table.ts'
import { badFrame } from './frame.ts'
import { containsGuard } from './marker.ts'

const fieldHeaderBytes = 6

/**
 * A payload of fields, in the order of the properties given.
 *
 * @throws RametError `INVALID_ARGUMENT` for a value that its field cannot hold, or that contains the session marker;
 *   `TOO_LARGE` when all of it does not fit into a frame
 */
export function encodeFields(fields: Fields): Buffer {
  const payload = encodeRun(fields, 0)
  if (payload.length > limits.framePayloadBytes) {
    throw new RametError('TOO_LARGE', {
      message: `the request takes ${payload.length} bytes; the guest link carries ${limits.framePayloadBytes} at once`,
    })
  }
  if (containsGuard(payload)) throw invalid('the request contains the marker that begins a link session')
  return payload
}

/**
 * Fields by name; keys that this version does not know are left out.
 *
 * @throws RametError `AGENT_PROTOCOL` when the bytes are not a run of fields, or a value is not of its field's type
 */
export function decodeFields(payload: Buffer): Fields {
  return decodeRun(payload, 0)
}

function encodeRun(fields: Fields, depth: number): Buffer {
  if (depth > limits.fieldRecordDepth) throw invalid('records are nested too deeply')
  const parts: Buffer[] = []
  for (const [name, value] of Object.entries(fields) as [FieldName, unknown][]) {
    if (value === undefined) continue
    const [key, kind] = fieldTable[name]
    for (const item of kind.endsWith('*') ? (value as readonly unknown[]) : [value]) {
      const bytes = encodeValue(name, kind, item, depth)
      const header = Buffer.alloc(fieldHeaderBytes)
      header.writeUInt16LE(key, 0)
      header.writeUInt32LE(bytes.length, 2)
      parts.push(header, bytes)
    }
  }
  return Buffer.concat(parts)
}

function encodeValue(name: FieldName, kind: string, value: unknown, depth: number): Buffer {
  switch (kind[0]) {
    case 'u':
    case 't':
      return encodeNumber(name, value as number | bigint)
    case 's': {
      const text = value as string
      if (text.includes('\0')) throw invalid(`“${name}” contains a NUL character`)
      return Buffer.from(text, 'utf8')
    }
    case 'b':
      return Buffer.from(value as Uint8Array)
    default:
      return encodeRun(value as Fields, depth + 1)
  }
}

function encodeNumber(name: FieldName, value: number | bigint): Buffer {
  const fits = typeof value === 'bigint' ? value >= 0n && value < 2n ** 64n : Number.isSafeInteger(value) && value >= 0
  if (!fits) throw invalid(`“${name}” is ${value}, which is not an unsigned whole number`)
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}

function decodeRun(payload: Buffer, depth: number): Fields {
  // Every level costs a field header, so without this a single payload could nest thousands deep.
  if (depth > limits.fieldRecordDepth) throw badFrame('records that are nested too deeply')
  const fields: Partial<Record<FieldName, unknown>> = {}
  let at = 0
  while (at < payload.length) {
    if (payload.length - at < fieldHeaderBytes) throw badFrame('half a field')
    const known = fieldsByKey.get(payload.readUInt16LE(at))
    const end = at + fieldHeaderBytes + payload.readUInt32LE(at + 2)
    if (end > payload.length) throw badFrame('a field longer than its frame')
    if (known !== undefined) {
      const value = decodeValue(known.name, known.kind, payload.subarray(at + fieldHeaderBytes, end), depth)
      const before = fields[known.name]
      if (known.kind.endsWith('*')) {
        if (before === undefined) fields[known.name] = [value]
        else (before as unknown[]).push(value)
      } else if (before === undefined) fields[known.name] = value
      else throw badFrame(`the field “${known.name}” twice`)
    }
    at = end
  }
  return fields as Fields
}

function decodeValue(name: FieldName, kind: string, bytes: Buffer, depth: number): unknown {
  switch (kind[0]) {
    case 'u':
    case 't': {
      if (bytes.length !== 8) throw badFrame(`a number “${name}” of ${bytes.length} bytes`)
      const value = bytes.readBigUInt64LE()
      if (kind === 't') return value
      if (value > Number.MAX_SAFE_INTEGER) throw badFrame(`the number ${value} as “${name}”`)
      return Number(value)
    }
    case 's':
      if (bytes.includes(0)) throw badFrame(`a NUL byte in “${name}”`)
      // File names in a guest may be any bytes: what is not UTF-8 becomes U+FFFD rather than an error.
      return bytes.toString('utf8')
    case 'b':
      return Buffer.from(bytes)
    default:
      return decodeRun(bytes, depth + 1)
  }
}

function invalid(message: string): RametError {
  return new RametError('INVALID_ARGUMENT', { message })
}
