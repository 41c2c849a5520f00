/**
 * The process of a fake QEMU: it listens where QEMU would and hands every connection on to the test. The
 * engine checks who listens, so this cannot be the test itself.
 *
 * Arguments: pairs of a socket to make and the one that it leads to.
 */
import { connect, createServer } from 'node:net'
import process from 'node:process'

const paths = process.argv.slice(2)
for (let index = 0; index < paths.length; index += 2) {
  const [here = '', there = ''] = paths.slice(index)
  const server = createServer((near) => {
    const far = connect(there)
    near.pipe(far).pipe(near)
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      one.on('error', () => {})
      one.once('close', () => other.destroy())
    }
  })
  server.listen(here)
}
