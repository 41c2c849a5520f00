import type { DoctorReport } from '../../client/index.ts'
import { exitCodes } from '../../shared/errors.ts'
import { defineCommand } from '../command.ts'
import { line } from '../io.ts'

export default defineCommand({
  description:
    'Looks at this machine and says what is missing, what is slower than it could be, what that means, and what to do about it. Exit code 1 when Ramet does not work here at all.',
  examples: [
    { line: 'ramet doctor', does: 'Looks at everything.' },
    { line: 'ramet doctor -o json', does: 'The same for a program.' },
  ],
  arguments: {},
  options: {},
  run: async (_input, context) => {
    const report = await (await context.ramet()).doctor({ signal: context.signal })
    await line(context.io, context.format === 'json' ? JSON.stringify(report, null, 2) : doctorText(report))
    return report.usable ? exitCodes.ok : exitCodes.error
  },
})

export function doctorText(report: DoctorReport): string {
  const lines: string[] = []
  for (const check of report.checks) {
    lines.push(`${check.verdict.padEnd(8)}${check.title}: ${check.detail}`)
    if (check.verdict === 'ok') continue
    if (check.effect !== undefined) lines.push(`        ${check.effect}`)
    if (check.remedy !== undefined) lines.push(`        remedy: ${check.remedy}`)
  }
  lines.push('', report.usable ? 'Ramet works here.' : 'Ramet does not work here yet; see what is missing above.')
  return lines.join('\n')
}
