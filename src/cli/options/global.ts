import { flag, parsed, value } from '../command.ts'
import { parseDurationMs } from '../parse/duration.ts'
import { oneOf } from '../parse/number.ts'

/** Options of every command. */
export const globalOptions = {
  output: parsed('-o, --output <format>', 'table, json or name (env RAMET_OUTPUT)', oneOf('table', 'json', 'name'), [
    'table',
    'json',
    'name',
  ]),
  quiet: flag('-q, --quiet', 'names only, no progress'),
  timeout: parsed('--timeout <duration>', 'give up after this time, as 30s or 10m', parseDurationMs),
  url: value('--url <address>', 'daemon, http://host:port or unix:/path (env RAMET_API_URL)'),
  dataDir: value('--data-dir <directory>', 'data directory of the daemon (env RAMET_DATA_DIR)', 'file'),
}
