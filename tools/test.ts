// Everything that must hold: `npm test`. Parts of it by name: `npm run unit`, `npm run system`.
import process from 'node:process'
import { runChecks } from './check.ts'
import { nodeTest, type PhaseResult, report, runPhase } from './phases.ts'

const phases: Record<string, () => Promise<PhaseResult[]>> = {
  check: runChecks,
  unit: async () => [await runPhase('unit tests', nodeTest(['{src,bench,guest/image}/**/*.test.ts']))],
  agent: async () => [
    await runPhase('guest agent: unit tests', ['make', '-s', '-C', 'guest/agent', 'check']),
    await runPhase('guest agent: fuzz smoke', ['make', '-s', '-C', 'guest/agent', 'fuzz-smoke']),
  ],
  // One file after the other: guests under emulation need the cores.
  system: async () => [
    await runPhase('system tests on real VMs', nodeTest(['test/**/*.test.ts'], ['--test-concurrency=1'])),
  ],
}

const wanted = process.argv.slice(2)
const unknown = wanted.filter((name) => !(name in phases))
if (unknown.length > 0) {
  process.stderr.write(`unknown: ${unknown.join(' ')}; there are: ${Object.keys(phases).join(' ')}\n`)
  process.exit(2)
}
const results: PhaseResult[] = []
for (const [name, run] of Object.entries(phases)) {
  if (wanted.length === 0 || wanted.includes(name)) results.push(...(await run()))
}
process.exitCode = report(results)
