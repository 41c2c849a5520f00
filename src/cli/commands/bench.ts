import { existsSync } from 'node:fs'
import { RametError } from '../../shared/errors.ts'
import { runProgram } from '../child.ts'
import { defineCommand, rest } from '../command.ts'
import { benchProgram } from '../programs.ts'

export default defineCommand({
  description:
    'Measures: ramet bench fork runs forks beside the least that QEMU allows and a cold boot of the same image, and reports each stage as p50, p90 and p99; with --live it forks running vms, and tells what that costs them. ramet bench restore restores a guest page by page and in other ways, and tells what it waits for. ramet bench opportunistic measures memory that is in use as cache and free at once. What follows bench is passed to the programme of measurements as it is.',
  examples: [
    { line: 'ramet bench fork', does: 'Measures forks.' },
    { line: 'ramet bench fork --live --generations 50', does: 'Measures forks of running vms, and of fork of a fork.' },
    { line: 'ramet bench restore --runs 5 -o json', does: 'Measures restores, for a program to read.' },
  ],
  arguments: { measurement: rest('what to measure, and its options') },
  options: {},
  passThrough: true,
  run: async ({ args }, context) => {
    const program = benchProgram()
    if (!existsSync(program))
      throw new RametError('NOT_FOUND', {
        message: 'the measurements are not installed',
        remediation: 'Run ramet from a checkout of its repository.',
      })
    return await runProgram(context, program, args.measurement)
  },
})
