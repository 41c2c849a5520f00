import { randomBytes } from 'node:crypto'
import { constants, link, open, readFile, rm } from 'node:fs/promises'
import { errnoOf, RametError } from '../shared/errors.ts'

/**
 * The token of the loopback HTTP, from its file; made at the first start, readable by its owner only.
 *
 * @throws RametError `FORBIDDEN` when others can read the file, `INVALID_ARGUMENT` when it holds no token
 */
export async function readOrMakeToken(path: string, random: (bytes: number) => Buffer = randomBytes): Promise<string> {
  try {
    return await readToken(path)
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error
  }
  // Written whole under another name and then linked: two daemons starting at once agree on one token.
  const part = `${path}.${process.pid}.${random(4).toString('hex')}`
  const file = await open(part, constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY, 0o600)
  try {
    await file.writeFile(`${random(32).toString('base64url')}\n`)
    await file.sync()
    await link(part, path).catch((error: unknown) => {
      if (errnoOf(error) !== 'EEXIST') throw error
    })
  } finally {
    await file.close()
    await rm(part, { force: true })
  }
  return await readToken(path)
}

async function readToken(path: string): Promise<string> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW)
  try {
    const { mode } = await file.stat()
    if ((mode & 0o077) !== 0)
      throw new RametError('FORBIDDEN', {
        message: `${path} can be read by others`,
        remediation: `Run: chmod 600 ${path}; or remove it, and a new token is made.`,
      })
    const token = (await readFile(file, 'utf8')).trim()
    if (!/^[A-Za-z0-9_-]{20,}$/.test(token))
      throw new RametError('INVALID_ARGUMENT', {
        message: `${path} holds no token`,
        remediation: 'Remove the file; a new token is made at the next start.',
      })
    return token
  } finally {
    await file.close()
  }
}
