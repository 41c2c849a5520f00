/** One side of a copy: a path on this machine, or in a vm. */
export type CopyPath = { vm: string; path: string } | { vm?: undefined; path: string }

/**
 * `web:/srv/x` is in a vm, everything else on this machine. A local file with a colon in its name is
 * written with a path: `./a:b`.
 */
export function parseCopyPath(text: string): CopyPath {
  const match = /^([A-Za-z0-9][A-Za-z0-9-]*):(.*)$/s.exec(text)
  if (match?.[1] === undefined || match[2] === undefined) return { path: text }
  const path = match[2] === '' ? '.' : match[2]
  // What has no leading slash is under the home of root, as with scp.
  return { vm: match[1], path: path.startsWith('/') ? path : `/root/${path}`.replace(/\/\.$/, '') }
}
