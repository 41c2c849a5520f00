/** One thing that `ramet doctor` looked at, and what it means. */
export interface Finding {
  /** short, stable: `kvm`, `reflink`, … */
  name: string
  ok: boolean
  /** `ok`; `slow`: Ramet works, but slower or with less protection; `missing`: something does not work */
  level: 'ok' | 'slow' | 'missing'
  /** what was found, one sentence */
  finding: string
  /** what to do about it, one sentence; empty when nothing is to be done */
  remedy: string
}

export function fine(name: string, finding: string): Finding {
  return { name, ok: true, level: 'ok', finding, remedy: '' }
}

export function slow(name: string, finding: string, remedy: string): Finding {
  return { name, ok: false, level: 'slow', finding, remedy }
}

export function missing(name: string, finding: string, remedy: string): Finding {
  return { name, ok: false, level: 'missing', finding, remedy }
}
