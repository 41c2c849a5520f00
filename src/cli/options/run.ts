import { list, parsed, type Values } from '../command.ts'
import { parseDurationMs } from '../parse/duration.ts'
import { positiveNumber } from '../parse/number.ts'
import { parsePair, parseVariable } from '../parse/pair.ts'
import { parsePort } from '../parse/port.ts'
import { parseSizeBytes } from '../parse/size.ts'

/** What is chosen at create as well as at fork. */
export const runOptions = {
  label: list('-l, --label <key=value>', 'label to select by later; repeat for more', parsePair),
  env: list('-e, --env <name=value>', 'environment of commands; a bare name takes the value here', (text) =>
    parseVariable(text),
  ),
  ttl: parsed('--ttl <duration>', 'remove it by itself after this time, as 30m', parseDurationMs),
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
    ports: options.publish,
    limits: {
      ...(cpuLimit === undefined ? {} : { cpuCores: cpuLimit }),
      ...(memoryLimit === undefined ? {} : { memoryBytes: memoryLimit }),
    },
  }
}
