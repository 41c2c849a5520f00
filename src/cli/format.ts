/** `840 ms`, `12.3 s`, `5 min`, `3 h`, `2 d`: one glance, not a stopwatch. */
export function formatDuration(ms: number): string {
  if (ms < 1000) return ms < 10 ? `${Math.round(ms * 10) / 10} ms` : `${Math.round(ms)} ms`
  const seconds = ms / 1000
  if (seconds < 60) return `${seconds < 10 ? Math.round(seconds * 10) / 10 : Math.round(seconds)} s`
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`
  if (seconds < 48 * 3600) return `${Math.round(seconds / 3600)} h`
  return `${Math.round(seconds / 86400)} d`
}

/** Time since an RFC 3339 time. */
export function formatAge(time: string | undefined, nowMs: number = Date.now()): string {
  if (time === undefined) return '-'
  return formatDuration(Math.max(0, Math.round((nowMs - Date.parse(time)) / 1000) * 1000))
}

/** Text of a guest made harmless for a terminal: no control characters but tabs. */
export function harmless(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  return text.replace(/[\u0000-\u0008\u000a-\u001f\u007f-\u009f]/g, '\u00b7')
}
