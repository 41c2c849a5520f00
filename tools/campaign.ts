// Long campaigns, by hand before a release: `npm run campaign`. Everything `npm test` is too short for.
import process from 'node:process'
import { nodeTest, report, runPhase, testFiles } from './phases.ts'

process.exitCode = report([
  await runPhase('guest agent: long fuzz', ['make', '-s', '-C', 'guest/agent', 'fuzz-long']),
  await runPhase('campaigns', nodeTest(testFiles('{src,test,guest}/**/*.campaign.ts'), 'alone'), {
    RAMET_CAMPAIGN: '1',
  }),
])
