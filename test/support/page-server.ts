import { readdirSync, readFileSync } from 'node:fs'
import process from 'node:process'

const program = 'checkpoint/serve/main'

/** The page server of a data directory; undefined when none runs. */
export function pageServerOf(dataDir: string): number | undefined {
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    // Behind whatever Node itself was told.
    const [script = '', directory] = argumentsOf(entry)
      .filter((argument) => !argument.startsWith('--'))
      .slice(1)
    if (script.includes(program) && directory === dataDir) return Number(entry)
  }
  return undefined
}

/** Ends it as a crash does. @returns whether there was one */
export function killPageServer(dataDir: string): boolean {
  const pid = pageServerOf(dataDir)
  if (pid === undefined) return false
  process.kill(pid, 'SIGKILL')
  return true
}

function argumentsOf(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
  } catch {
    return []
  }
}
