// The fast checks: `npm run check`. Types, lint and format, the rules of the house.

import process from 'node:process'
import { fileURLToPath } from 'node:url'
import { nodeTest, type PhaseResult, report, runPhase, testFiles, tool } from './phases.ts'

export async function runChecks(): Promise<PhaseResult[]> {
  return [
    await runPhase('types', [tool('tsc'), '-p', '.']),
    await runPhase('lint and format', [tool('biome'), 'check', '--error-on-warnings', '.']),
    await runPhase('rules of the house', nodeTest(testFiles('tools/rules/*.test.ts'), 'together')),
  ]
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = report(await runChecks())
