/** Runs `stress` in a process of its own, which somebody puts into a control group first: begins at a line on its input. */
import { once } from 'node:events'
import { type StressOptions, stress } from './stress.ts'

await once(process.stdin, 'data')
process.stdin.destroy()
const options = JSON.parse(process.argv[2] ?? '') as StressOptions
process.stdout.write(`${JSON.stringify(await stress(options))}\n`)
