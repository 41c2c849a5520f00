/**
 * The small stateful program of the demo, run in the guest: it draws a token when it starts, and then walks:
 * every step adds a random number to its position. Its whole state is in its memory. Children that were really
 * forked from that memory have the same token and begin their step count where the parent stood; and since each
 * has fresh randomness, their positions part at once.
 */
export const walker = `
import os, time, json
token = os.urandom(6).hex()
ballast = bytearray(os.urandom(1 << 20) * 16)
steps, position = 0, 0
while True:
    steps += 1
    position += int.from_bytes(os.urandom(2), 'big')
    with open('/run/walker.tmp', 'w') as out:
        json.dump({'token': token, 'pid': os.getpid(), 'steps': steps, 'position': position}, out)
    os.rename('/run/walker.tmp', '/run/walker')
    time.sleep(0.1)
`

export interface WalkerState {
  token: string
  pid: number
  steps: number
  position: number
}

export function readWalker(text: string): WalkerState {
  return JSON.parse(text)
}
