import process from 'node:process'
import { RametError } from '../../shared/errors.ts'

/** `key=value` as a pair. @throws RametError `INVALID_ARGUMENT` */
export function parsePair(text: string): [string, string] {
  const at = text.indexOf('=')
  if (at > 0) return [text.slice(0, at), text.slice(at + 1)]
  throw new RametError('INVALID_ARGUMENT', { message: `“${text}” is not of the form name=value` })
}

/** The same for a variable, whose bare name takes the value that it has here. @throws RametError `INVALID_ARGUMENT` */
export function parseVariable(text: string, env: NodeJS.ProcessEnv = process.env): [string, string] {
  if (text.includes('=')) return parsePair(text)
  const value = env[text]
  if (value !== undefined) return [text, value]
  throw new RametError('INVALID_ARGUMENT', {
    message: `the variable ${text} is not set here`,
    remediation: `Write ${text}=value.`,
  })
}
