import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { requirePeer } from '../../host/peer.ts'
import type { ProcessIdentity } from '../../host/process-identity.ts'
import { RametError } from '../../shared/errors.ts'

/**
 * Connects to the socket at which a QEMU waits for its migration.
 *
 * @throws RametError `VMM_FAILED` when nobody listens there, or another process than that QEMU
 */
export async function connectQemu(path: string, qemu: ProcessIdentity): Promise<Socket> {
  const socket = connect(path)
  try {
    await once(socket, 'connect')
    requirePeer(socket, qemu, path)
    return socket
  } catch (cause) {
    socket.destroy()
    if (cause instanceof RametError) throw cause
    throw new RametError('VMM_FAILED', { message: `the QEMU to be restored does not listen at ${path}`, cause })
  }
}
