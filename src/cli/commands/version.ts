import { readFileSync } from 'node:fs'
import process from 'node:process'
import { Ramet } from '../../client/index.ts'
import { defaultDataDirectory } from '../../client/settings.ts'
import { defineCommand } from '../command.ts'
import { line } from '../io.ts'

export default defineCommand({
  description: 'Shows the version of this program, and that of the daemon if one runs. It starts none.',
  examples: [{ line: 'ramet version', does: 'Both versions.' }],
  arguments: {},
  options: {},
  run: async (_input, context) => {
    const { globals, io } = context
    const url = globals.url ?? (globals.dataDir === undefined ? io.env.RAMET_API_URL || undefined : undefined)
    const where = url === undefined ? { dataDirectory: globals.dataDir ?? defaultDataDirectory(io.env) } : { url }
    const daemon = await new Ramet(where).version({ signal: context.signal }).catch(() => undefined)
    const own = ownVersion()
    if (context.format === 'json')
      await line(io, JSON.stringify({ version: own, node: process.version, daemon: daemon ?? null }, null, 2))
    else if (context.format === 'name') await line(io, own)
    else await line(io, `ramet ${own} (Node ${process.version})\ndaemon ${daemon?.version ?? 'not running'}`)
    return undefined
  },
})

function ownVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'))
  return typeof manifest === 'object' && manifest !== null && 'version' in manifest
    ? String(manifest.version)
    : 'unknown'
}
