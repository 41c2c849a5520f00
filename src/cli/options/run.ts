import { flag, list, parsed, type Values } from '../command.ts'
import { parseDurationMs } from '../parse/duration.ts'
import { positiveNumber } from '../parse/number.ts'
import { parsePair, parseVariable } from '../parse/pair.ts'
import { parsePort } from '../parse/port.ts'
import { parseSizeBytes } from '../parse/size.ts'
import { UsageError } from '../show-error.ts'

/** What `--idle-pause` means, for the help of whoever has it. */
export const idleHelp =
  'With --idle-pause a vm pauses by itself when for that long nobody has called it and it has not computed. A call is a command, a file, a connection to a published port, a fork, or whatever else is done to it; one that lasts (a shell, an attached command, an open connection) keeps it running. It has not computed when it used less than a twentieth of one processor; a detached command that only waits does not keep it running. The next call resumes it first, and notices only the time that takes. With --idle-to-disk it pauses to disk, or goes there after a pause in memory, which takes no memory of the host and longer to come back from.'

/** When a vm pauses by itself. */
export const idleOptions = {
  idlePause: parsed(
    '--idle-pause <duration>',
    'pause it by itself after this time without a call, as 10m',
    parseDurationMs,
  ),
  idleToDisk: parsed('--idle-to-disk <duration>', 'the same, to disk: it then takes no memory', parseDurationMs),
  idleStay: flag('--idle-stay', 'it then stays paused until ramet resume, whoever calls'),
}

/** `none` is what `ramet update` knows besides: not so any more. */
type IdleTime = number | 'none' | undefined

export function idleRequest(options: { idlePause: IdleTime; idleToDisk: IdleTime; idleStay: boolean }) {
  const { idlePause, idleToDisk, idleStay } = options
  const times = {
    ...(typeof idlePause === 'number' ? { pauseAfterSeconds: idlePause / 1000 } : {}),
    ...(typeof idleToDisk === 'number' ? { toDiskAfterSeconds: idleToDisk / 1000 } : {}),
  }
  if (Object.keys(times).length > 0) return { idle: { ...times, ...(idleStay ? { resumeOnCall: false } : {}) } }
  if (!idleStay) return {}
  throw new UsageError('--idle-stay needs --idle-pause or --idle-to-disk', 'Say after which time: --idle-pause 10m')
}

/** What is chosen at create as well as at fork. */
export const runOptions = {
  label: list('-l, --label <key=value>', 'label to select by later; repeat for more', parsePair),
  env: list('-e, --env <name=value>', 'environment of commands; a bare name takes the value here', (text) =>
    parseVariable(text),
  ),
  ttl: parsed('--ttl <duration>', 'remove it by itself after this time, as 30m', parseDurationMs),
  ...idleOptions,
  publish: list('-p, --publish <guest[:host]>', 'publish a port of the guest here; repeat for more', parsePort),
  cpuLimit: parsed('--cpu-limit <cores>', 'processor time it may use on the host, as 0.5', positiveNumber),
  memoryLimit: parsed('--memory-limit <size>', 'memory it may use on the host beyond what it shares', parseSizeBytes),
}

export function runRequest(options: Values<typeof runOptions>) {
  const { cpuLimit, memoryLimit } = options
  return {
    labels: Object.fromEntries(options.label),
    environment: Object.fromEntries(options.env),
    ...(options.ttl === undefined ? {} : { ttlSeconds: options.ttl / 1000 }),
    ...idleRequest(options),
    ports: options.publish,
    limits: {
      ...(cpuLimit === undefined ? {} : { cpuCores: cpuLimit }),
      ...(memoryLimit === undefined ? {} : { memoryBytes: memoryLimit }),
    },
  }
}
