/**
 * A daemon that does nothing but be one: it takes the lock of its data directory, takes a moment to get
 * ready, answers, and ends on SIGTERM. With FAKE_DAEMON=broken it dies with words, with =deaf it ignores SIGTERM.
 */
import { rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import process from 'node:process'
import { lockDaemon } from '../../../cluster/daemon-lock.ts'
import { isRametError } from '../../../shared/errors.ts'

const dataDirectory = process.argv[process.argv.indexOf('--data-dir') + 1] ?? ''
if (process.env.FAKE_DAEMON === 'broken') {
  console.error('the store is damaged')
  process.exit(1)
}
try {
  lockDaemon(dataDirectory, { pid: process.pid, since: new Date().toISOString(), version: '0' })
} catch (error) {
  process.exit(isRametError(error) ? error.kind.exitCode : 1)
}
const socketPath = join(dataDirectory, 'ramet.sock')
rmSync(socketPath, { force: true })
let answers = 0
const server = createServer((_request, response) => {
  answers += 1
  response.writeHead(answers > 2 ? 200 : 503).end('{}')
})
server.listen(socketPath)
process.on('SIGTERM', () => {
  if (process.env.FAKE_DAEMON === 'deaf') return
  rmSync(socketPath, { force: true })
  process.exit(0)
})
