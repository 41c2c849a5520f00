/**
 * The same items, and `over` is called once there will be no more: they have come to their end, have failed, nobody
 * wants any more, or the signal aborts. A generator could not tell of the end of one that is never begun.
 */
export function untilOver<T>(items: AsyncIterable<T>, over: () => void, signal?: AbortSignal): AsyncIterable<T> {
  signal?.addEventListener('abort', over, { once: true })
  if (signal?.aborted) over()
  return {
    [Symbol.asyncIterator]: () => {
      const inner = items[Symbol.asyncIterator]()
      return {
        next: async () => {
          try {
            const item = await inner.next()
            if (item.done) over()
            return item
          } catch (error) {
            over()
            throw error
          }
        },
        return: async () => {
          over()
          await inner.return?.()
          return { done: true, value: undefined }
        },
      }
    },
  }
}
