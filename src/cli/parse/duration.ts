import { RametError } from '../../shared/errors.ts'

const unitMs: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3600_000, d: 24 * 3600_000 }

/** `90` (seconds), `500ms`, `10m`, `1h30m` as milliseconds. @throws RametError `INVALID_ARGUMENT` */
export function parseDurationMs(text: string): number {
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text) * 1000
  const pieces = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)]
  if (pieces.length === 0 || pieces.map(([piece]) => piece).join('') !== text)
    throw new RametError('INVALID_ARGUMENT', {
      message: `“${text}” is not a duration`,
      remediation: 'Write it as 30s, 10m, 1h30m or 500ms; a bare number is seconds.',
    })
  return pieces.reduce((sum, [, value, unit]) => sum + Number(value) * (unitMs[unit ?? ''] ?? 0), 0)
}

/** As `parseDurationMs`, where a bare number would be taken for milliseconds. @throws RametError `INVALID_ARGUMENT` */
export function parseShortDurationMs(text: string): number {
  if (!/^\d+(\.\d+)?$/.test(text)) return parseDurationMs(text)
  throw new RametError('INVALID_ARGUMENT', {
    message: `“${text}” has no unit`,
    remediation: `Write it as ${text}ms or ${text}s.`,
  })
}
