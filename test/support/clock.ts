import type { Vm } from '../../src/client/index.ts'

// The one applet that tells more than seconds.
const askClock = "while read line; do adjtimex | sed -n 's/.*tv_u*sec: *//p' | paste -s -d ' '; done"

/** Offset of a guest's clock by the midpoint of the shortest of some round trips. */
export async function clockOffsetMs(vm: Vm): Promise<{ ms: number; uncertaintyMs: number }> {
  let best = { ms: Number.NaN, uncertaintyMs: Number.POSITIVE_INFINITY }
  const handle = await vm.commands.run(askClock, {
    background: true,
    stdin: true,
    onStdout: (text) => answer?.(text),
  })
  let answer: ((text: string) => void) | undefined
  for (let attempt = 0; attempt < 10; attempt += 1) {
    const told = new Promise<string>((resolve) => {
      answer = resolve
    })
    const sentMs = Date.now()
    await handle.sendStdin('\n')
    const [seconds, microseconds] = (await told).trim().split(' ').map(Number)
    const gotMs = Date.now()
    const uncertaintyMs = (gotMs - sentMs) / 2
    if (uncertaintyMs < best.uncertaintyMs) {
      const guestMs = (seconds ?? Number.NaN) * 1000 + (microseconds ?? Number.NaN) / 1000
      best = { ms: guestMs - (sentMs + gotMs) / 2, uncertaintyMs }
    }
  }
  await handle.kill()
  return best
}
