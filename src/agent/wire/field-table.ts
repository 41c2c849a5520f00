/**
 * Every field key, with its type. Kinds: `u` a number below 2^53, `t` an unsigned 64-bit number (times, counters),
 * `s` UTF-8 text without NUL, `b` bytes, `s*` a list of texts, `r*` a list of records. docs/agent-protocol.md, section 4.
 */
export const fieldTable = {
  op: [1, 's'],
  errno: [2, 'u'],
  message: [3, 's'],
  versionMin: [4, 'u'],
  versionMax: [5, 'u'],
  version: [6, 'u'],
  feature: [7, 's*'],
  agentBuild: [8, 's'],
  bootId: [9, 's'],
  generation: [10, 'u'],
  initMode: [11, 's'],
  timeNs: [12, 't'],
  monotonicNs: [13, 't'],
  arg: [16, 's*'],
  env: [17, 's*'],
  cwd: [18, 's'],
  user: [19, 's'],
  flags: [20, 'u'],
  pid: [21, 'u'],
  processId: [22, 'u'],
  exitCode: [23, 'u'],
  signal: [24, 'u'],
  columns: [25, 'u'],
  rows: [26, 'u'],
  state: [27, 's'],
  startedNs: [28, 't'],
  stdinOffset: [29, 'u'],
  stdoutOffset: [30, 'u'],
  stderrOffset: [31, 'u'],
  tag: [32, 's'],
  timeoutMs: [33, 'u'],
  path: [40, 's'],
  target: [41, 's'],
  mode: [42, 'u'],
  uid: [43, 'u'],
  gid: [44, 'u'],
  size: [45, 'u'],
  mtimeNs: [46, 't'],
  kind: [47, 's'],
  offset: [48, 'u'],
  limit: [49, 'u'],
  entry: [50, 'r*'],
  name: [51, 's'],
  action: [52, 's'],
  port: [60, 'u'],
  address: [61, 's*'],
  hostname: [70, 's'],
  machineId: [71, 's'],
  vmId: [72, 's'],
  parentId: [73, 's'],
  forkIndex: [74, 'u'],
  seed: [75, 'b'],
  proof: [76, 'b'],
  nic: [77, 'r*'],
  index: [78, 'u'],
  mac: [79, 'b'],
  gateway: [80, 's'],
  dns: [81, 's*'],
  linkUp: [82, 'u'],
  hook: [90, 'r*'],
  durationNs: [91, 't'],
  output: [92, 'b'],
  metric: [100, 'r*'],
  value: [101, 't'],
} as const

export type FieldName = keyof typeof fieldTable

type Kind = (typeof fieldTable)[FieldName][1]

interface KindValues {
  u: number
  t: bigint
  s: string
  b: Uint8Array
  's*': readonly string[]
  'r*': readonly Fields[]
}

/** The fields of a payload, by name. A single value is one field; a list is its key repeated. */
export type Fields = { readonly [Name in FieldName]?: KindValues[(typeof fieldTable)[Name][1]] | undefined }

/** Name and kind by key, for decoding. */
export const fieldsByKey: ReadonlyMap<number, { name: FieldName; kind: Kind }> = new Map(
  (Object.keys(fieldTable) as FieldName[]).map((name) => [fieldTable[name][0], { name, kind: fieldTable[name][1] }]),
)
