import { nearest } from './suggest.ts'
import { entries, sections, type TableEntry, type TableGroup } from './table.ts'

const gettingStarted = [
  'ramet image build micro                        build a small image, once',
  'ramet run micro --name first                   boot a vm from it',
  'ramet exec first sh -c "echo hi > /tmp/state"  bring it into the state you want',
  'ramet template create warm --from first        seal it, to fork from',
  'ramet fork warm --count 3                      three children go on from that very state',
]

/** What `ramet --help` prints. */
export function topHelp(): string {
  const width = Math.max(...entries.map((entry) => entry.name.length)) + 2
  const lines = [
    'Ramet forks running Linux virtual machines: memory, devices and disk, in milliseconds.',
    '',
    'Usage: ramet COMMAND [OPTIONS] [ARGUMENTS]',
    '',
    'Getting started',
    ...gettingStarted.map((one) => `  ${one}`),
  ]
  for (const section of sections) {
    lines.push('', section.title)
    for (const entry of section.entries) lines.push(`  ${entry.name.padEnd(width)}${summaryOf(entry)}`)
  }
  lines.push(
    '',
    'Options of every command',
    `  ${'-o, --output'.padEnd(16)}table, json or name`,
    `  ${'-q, --quiet'.padEnd(16)}names only, no progress`,
    `  ${'--timeout'.padEnd(16)}give up after this time, as 30s or 10m`,
    `  ${'--url'.padEnd(16)}another daemon, http://host:port or unix:/path`,
    `  ${'--data-dir'.padEnd(16)}data directory of the daemon`,
    '',
    'RAMET_API_URL names another daemon as --url does, RAMET_API_KEY the token that it wants over HTTP.',
    'Vms are named by name, by id, or by a beginning of the id that only one has.',
    'Exit codes: 0 ok, 1 error, 2 usage, 3 not found, 4 conflict, 5 no capacity, 124 timeout;',
    'run and exec pass on the code of the command.',
    '',
    'ramet COMMAND --help explains a command and shows examples.',
  )
  return lines.join('\n')
}

function summaryOf(entry: TableEntry | TableGroup): string {
  return 'verbs' in entry ? `${entry.summary}: ${entry.verbs.map((verb) => verb.name).join(', ')}` : entry.summary
}

/** What `ramet template --help` prints. */
export function groupHelp(group: TableGroup): string {
  const width = Math.max(...group.verbs.map((verb) => verb.name.length)) + 2
  return [
    `Usage: ramet ${group.name} VERB [OPTIONS] [ARGUMENTS]`,
    '',
    group.description,
    '',
    'Verbs',
    ...group.verbs.map((verb) => `  ${verb.name.padEnd(width)}${verb.summary}`),
    '',
    `ramet ${group.name} VERB --help explains a verb and shows examples.`,
  ].join('\n')
}

/** What to do about a command that does not exist. */
export function unknownCommandRemedy(typed: string, names: readonly string[], help: string): string {
  const meant = nearest(typed, names)
  return `${meant === undefined ? '' : `Did you mean “${meant}”? `}See \`${help}\`.`
}
