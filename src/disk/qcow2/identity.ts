import { extensionType, type HeaderExtension, invalidImage } from './format.ts'

/**
 * Who a disk file is. It lies in the header, so that it travels with the file: a base that was
 * exchanged for another of the same name is noticed before a guest reads from it.
 */
export interface DiskIdentity {
  /** id of this file, given when it was sealed into a base; absent in a disk that is written to */
  readonly own?: string
  /** id of the base that the backing name must lead to */
  readonly base?: string
}

const formatVersion = 1
const idBytes = 24
const idPattern = /^[a-z0-9-]*$/

/** Layout: u8 version, 7 bytes zero, own id and base id, each 24 bytes of ASCII padded with zeros. */
export function encodeIdentity(identity: DiskIdentity): HeaderExtension {
  const data = Buffer.alloc(8 + 2 * idBytes)
  data[0] = formatVersion
  writeId(data, 8, identity.own)
  writeId(data, 8 + idBytes, identity.base)
  return { type: extensionType.identity, data }
}

/** @throws RametError `IMAGE_INVALID` */
export function decodeIdentity(extensions: readonly HeaderExtension[]): DiskIdentity {
  const data = extensions.find((extension) => extension.type === extensionType.identity)?.data
  if (data === undefined) return {}
  if (data.length !== 8 + 2 * idBytes || data[0] !== formatVersion)
    throw invalidImage('its identity is in a form that is not understood')
  const own = readId(data, 8)
  const base = readId(data, 8 + idBytes)
  return { ...(own === '' ? {} : { own }), ...(base === '' ? {} : { base }) }
}

function writeId(data: Buffer, offset: number, id = ''): void {
  if (id.length > idBytes || !idPattern.test(id)) throw invalidImage(`“${id}” cannot be the id of a disk`)
  data.write(id, offset, 'ascii')
}

function readId(data: Buffer, offset: number): string {
  const text = data.toString('latin1', offset, offset + idBytes).replace(/\0+$/, '')
  if (!idPattern.test(text)) throw invalidImage('its identity is damaged')
  return text
}
