/** Looks until there is something, between turns of the event loop; gives up after half a minute. */
export async function until<T>(look: () => T | undefined | false): Promise<T> {
  const deadlineMs = performance.now() + 30_000
  for (;;) {
    const found = look()
    if (found !== undefined && found !== false) return found
    if (performance.now() > deadlineMs) throw new RangeError('waited in vain')
    await new Promise((resolve) => setImmediate(resolve))
  }
}
