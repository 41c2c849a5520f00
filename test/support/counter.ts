import type { Vm } from '../../src/client/index.ts'

/**
 * A small program with state in its memory alone: it counts, and answers every line written to its pipe with the
 * count. A child that were booted, or restored from a file, would begin at 1 again.
 */
export async function startCounter(vm: Vm): Promise<void> {
  await vm.commands.run('mkfifo /tmp/ask /tmp/answer')
  await vm.commands.run(
    'n=0; while :; do read word </tmp/ask || continue; n=$((n+1)); echo "$n $word" >/tmp/answer; done',
    { background: true, execId: 'counter' },
  )
}

/** Asks once: the count after it. */
export async function count(vm: Vm, word = 'x'): Promise<string> {
  const { stdout } = await vm.commands.run(['sh', '-c', 'echo "$1" >/tmp/ask; cat /tmp/answer', 'ask', word])
  return stdout.trim()
}
