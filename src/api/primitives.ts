/**
 * The small pieces that resources are made of. Everywhere in this folder a schema and the type it
 * describes have one name; requests are strict (an unknown field is a mistake, and named), answers
 * are open (a newer daemon may say more). Field names end in their unit; times are RFC 3339 in UTC.
 */
import { z } from 'zod'
import { isName } from '../shared/ids.ts'
import { limits } from '../shared/limits.ts'

/** A name given by a user: also a valid host name label. */
export const Name = z
  .string()
  .refine(isName, {
    message: `not a valid name: 1 to ${limits.nameChars} lower-case letters, digits and inner dashes`,
    params: { code: 'INVALID_NAME' },
  })
  .meta({
    description: 'Name: lower-case letters, digits and inner dashes; unique among its kind.',
    pattern: '^[a-z0-9]([a-z0-9-]*[a-z0-9])?$',
    maxLength: limits.nameChars,
    examples: ['web-1'],
  })

/** What a path or a body names a thing by: its id or its name. */
export const Ref = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]*$/, 'not an id or a name')
  .max(limits.nameChars)
  .describe('Id or name.')

/** The same where a kind may have tags, as images have: `debian`, `debian:12`, `img-7h2k9c0qxz4m`. */
export const ImageRef = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]*(:[a-z0-9][a-z0-9.-]*)?$/, 'not an image id or name')
  .max(2 * limits.nameChars)
  .describe('Image id, or name with an optional tag.')

export const Time = z.iso.datetime().describe('Time, RFC 3339, UTC.')
export const Bytes = z.int().nonnegative().describe('Size, bytes.')
export const Milliseconds = z.number().nonnegative().describe('Duration, milliseconds, with fractions.')
export const TcpPort = z.int().min(1).max(65535)

const labelKey = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9._/-]*[a-z0-9])?$/, 'not a valid label key')
  .max(limits.nameChars)

/** Free facts that the user attaches, to select by later. */
export const Labels = z
  .record(labelKey, z.string().max(limits.labelValueChars))
  .refine((labels) => Object.keys(labels).length <= limits.labelCount, {
    message: `more than ${limits.labelCount} labels`,
  })
  .meta({ description: 'Labels: what the user attaches to select by.', examples: [{ team: 'data' }] })

const noNul = (text: string) => !text.includes('\0')
const variableName = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'not a valid variable name')

/** Variables of processes in the guest. */
export const Environment = z
  .record(variableName, z.string().refine(noNul, { message: 'contains a NUL character' }))
  .refine((environment) => environmentBytes(environment) <= limits.environmentBytes, {
    message: `larger than ${limits.environmentBytes} bytes in all`,
  })
  .meta({ description: 'Environment variables of later execs and hooks.', examples: [{ MODE: 'test' }] })

function environmentBytes(environment: Record<string, string>): number {
  const encoder = new TextEncoder()
  let bytes = 0
  for (const [key, value] of Object.entries(environment)) bytes += encoder.encode(`${key}=${value}`).length + 1
  return bytes
}

/** An absolute path in a guest. It never names anything on the host. */
export const GuestPath = z
  .string()
  .startsWith('/', 'not an absolute path')
  .max(4096)
  .refine(noNul, { message: 'contains a NUL character' })
  .describe('Absolute path in the guest.')

/** A text that goes to the guest as a C string. */
export const GuestText = z.string().refine(noNul, { message: 'contains a NUL character' })

export const Mode = z.int().min(0).max(0o7777).describe('Permission bits, as a number (420 is octal 644).')

/** Query of every list: a page size and where to go on. */
export const pageQuery = {
  limit: z.coerce.number().int().min(1).max(limits.listPageRows).default(100).describe('Rows in this page at most.'),
  cursor: z.string().max(256).optional().describe('Where to go on: `nextCursor` of the page before. Opaque.'),
}
export interface PageQuery {
  limit: number
  cursor?: string | undefined
}

/** Envelope of every list. */
export function pageOf<T extends z.ZodType>(item: T, id: string) {
  return z
    .object({
      items: z.array(item).describe('Rows of this page.'),
      nextCursor: z.string().optional().describe('Cursor of the next page; absent on the last.'),
    })
    .meta({ id })
}
export interface Page<T> {
  items: T[]
  nextCursor?: string | undefined
}

/** A query parameter that may be given several times. */
export function queryList<T extends z.ZodType>(item: T) {
  return z.union([item.transform((one) => [one]), z.array(item).max(100)]).optional()
}

/** A switch in a query string: `true`, `false`, or the bare name. */
export const queryFlag = z.enum(['true', 'false', '1', '0', '']).transform((text) => text !== 'false' && text !== '0')
