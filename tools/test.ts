// Everything that must hold: `npm test`. Parts of it by name: `npm run unit`, `npm run system`.
import process from 'node:process'
import { runChecks } from './check.ts'
import { nodeTest, type PhaseResult, report, runPhase, testFiles } from './phases.ts'

/**
 * System tests that nothing else may run beside: one sees the control group of all `user` networks of the host go with
 * the last of them, one has ten guests at a time come to life, each with its clock right to 50 ms.
 */
const aloneFiles: ReadonlySet<string> = new Set(['test/network.test.ts', 'test/no-leaks.test.ts'])

const phases: Record<string, () => Promise<PhaseResult[]>> = {
  check: runChecks,
  unit: async () => [
    await runPhase('unit tests', nodeTest(testFiles('{src,bench,guest/image}/**/*.test.ts'), 'together')),
  ],
  agent: async () => [
    await runPhase('guest agent: unit tests', ['make', '-s', '-C', 'guest/agent', 'check']),
    await runPhase('guest agent: fuzz smoke', ['make', '-s', '-C', 'guest/agent', 'fuzz-smoke']),
  ],
  system: async () => {
    const files = testFiles('test/**/*.test.ts')
    const together = files.filter((file) => !aloneFiles.has(file))
    return [
      await runPhase('system tests on real VMs, two files at once', nodeTest(together, 'together')),
      await runPhase('system tests that need the host alone', nodeTest([...aloneFiles], 'alone')),
    ]
  },
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
