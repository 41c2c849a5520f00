import type { VmRecord } from '../records.ts'
import type { Changes } from '../registry.ts'

/*
 * A vm's time to live runs while it does: `expiresAtMs` then says when it is over. While it is paused its
 * time stands, and `ttlLeftMs` holds what is left.
 */
type Ttl = Pick<VmRecord, 'ttlMs' | 'expiresAtMs' | 'ttlLeftMs'>

/** It has just booted, or was forked. */
export function ttlStarted(vm: Ttl, nowMs: number): Changes<VmRecord> {
  const leftMs = vm.ttlLeftMs ?? vm.ttlMs
  return { ttlLeftMs: undefined, expiresAtMs: leftMs === undefined ? undefined : nowMs + leftMs }
}

export function ttlPaused(vm: Ttl, nowMs: number): Changes<VmRecord> {
  const ttlLeftMs = vm.expiresAtMs === undefined ? vm.ttlLeftMs : vm.expiresAtMs - nowMs
  return { ttlLeftMs, expiresAtMs: undefined }
}

export function ttlResumed(vm: Ttl, nowMs: number): Changes<VmRecord> {
  const expiresAtMs = vm.ttlLeftMs === undefined ? vm.expiresAtMs : nowMs + vm.ttlLeftMs
  return { ttlLeftMs: undefined, expiresAtMs }
}

const standing: ReadonlySet<string> = new Set(['paused', 'resuming', 'suspended', 'restoring'])
const going: ReadonlySet<string> = new Set(['running', 'pausing', 'capturing', 'stopping'])

/** Somebody gave it another time to live, from now on; undefined takes it away. */
export function ttlChanged(vm: Pick<VmRecord, 'state'>, ttlMs: number | undefined, nowMs: number): Changes<VmRecord> {
  const isGoing = going.has(vm.state) && ttlMs !== undefined
  return {
    ttlMs,
    ttlLeftMs: standing.has(vm.state) ? ttlMs : undefined,
    expiresAtMs: isGoing ? nowMs + ttlMs : undefined,
  }
}
