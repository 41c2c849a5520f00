import { RametError } from '../../shared/errors.ts'

const powers = ['', 'K', 'M', 'G', 'T']

/** `512M`, `1.5G`, `64KiB` or plain bytes as bytes; units are powers of 1024. @throws RametError `INVALID_ARGUMENT` */
export function parseSizeBytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?) ?([KMGT]?)(?:i?B)?$/i.exec(text)
  const bytes = match === null ? Number.NaN : Number(match[1]) * 1024 ** powers.indexOf((match[2] ?? '').toUpperCase())
  if (!Number.isSafeInteger(Math.round(bytes)))
    throw new RametError('INVALID_ARGUMENT', {
      message: `“${text}” is not a size`,
      remediation: 'Write it as 512M, 1.5G, or a number of bytes.',
    })
  return Math.round(bytes)
}
