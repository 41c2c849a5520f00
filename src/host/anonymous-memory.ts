/** Private anonymous memory of this process, mapped for its whole life, and what the kernel is told about it. Loads the library for system calls. */
import { addressOf, check, errnoError, madviseAtRaw, memoryAt, mmapRaw } from './libc.ts'
import type { MemoryCalls } from './memory-calls.ts'

const readWrite = 3
/** MAP_PRIVATE, MAP_ANONYMOUS, MAP_NORESERVE */
const mapFlags = 0x2 | 0x20 | 0x4000

export const memoryCalls: MemoryCalls = {
  map(lengthBytes) {
    const address = Number(check('mmap', mmapRaw(0, lengthBytes, readWrite, mapFlags, -1, 0), `${lengthBytes} bytes`))
    const bytes = memoryAt(address, lengthBytes)
    // A view that were a copy would be released to nobody's use.
    if (addressOf(new Uint8Array(bytes)) !== address) throw errnoError('mmap', 95, 'no view of mapped memory')
    return { address, bytes }
  },
  advise(address, lengthBytes, what) {
    check('madvise', madviseAtRaw(address, lengthBytes, what), `advice ${what}`)
  },
}
