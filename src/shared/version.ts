import { readFileSync } from 'node:fs'

/** Version of Ramet, from its package file. */
export const rametVersion: string = readVersion()

function readVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  const parsed: { version: string } = JSON.parse(text)
  return parsed.version
}
