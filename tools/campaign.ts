// Long campaigns, by hand before a release: `npm run campaign`. Everything `npm test` is too short for.
import process from 'node:process'
import { nodeTest, report, runPhase } from './phases.ts'

process.exitCode = report([
  await runPhase('guest agent: long fuzz', ['make', '-s', '-C', 'guest/agent', 'fuzz-long']),
  await runPhase('campaigns', nodeTest(['{src,test,guest}/**/*.campaign.ts'], ['--test-concurrency=1']), {
    RAMET_CAMPAIGN: '1',
  }),
])
