import { randomBytes } from 'node:crypto'
import { RametError } from './errors.ts'
import { limits } from './limits.ts'

export type IdKind = 'vm' | 'tpl' | 'img' | 'op' | 'exec' | 'base' | 'delta' | 'snap' | 'rst' | 'net'

const alphabet = '0123456789abcdefghjkmnpqrstvwxyz'

/** A new opaque id such as `vm-7h2k9c0qxz4m`: 60 random bits, safe in paths, URLs and host names. */
export function newId(kind: IdKind, random: (bytes: number) => Buffer = randomBytes): string {
  let text = ''
  for (const byte of random(12)) text += alphabet[byte & 31]
  return `${kind}-${text}`
}

const namePattern = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/

/** Whether `name` can be a user-given name: also a valid host name label. */
export function isName(name: string): boolean {
  return name.length <= limits.nameChars && namePattern.test(name)
}

/** @throws RametError `INVALID_NAME` */
export function checkName(name: string): string {
  if (!isName(name)) throw new RametError('INVALID_NAME', { message: `“${name.slice(0, 80)}” is not a valid name` })
  return name
}

const adjectives = 'amber brave calm deft eager fair glad keen lively mellow noble proud quiet swift tidy warm'.split(
  ' ',
)
const plants = 'alder birch cedar elm fern hazel ivy juniper laurel maple oak pine rowan sage thyme willow'.split(' ')

/** A name for somebody who gave none: `swift-rowan-4f2a`. */
export function inventName(random: (bytes: number) => Buffer = randomBytes): string {
  const bytes = random(4)
  const pick = (list: string[], byte: number | undefined) => list[(byte ?? 0) % list.length]
  return `${pick(adjectives, bytes[0])}-${pick(plants, bytes[1])}-${bytes.subarray(2).toString('hex')}`
}
