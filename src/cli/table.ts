import type { Command } from './command.ts'

export interface TableEntry {
  readonly name: string
  readonly aliases?: readonly string[]
  /** one line */
  readonly summary: string
  /** the file of the verb, loaded when it is used */
  readonly load: () => Promise<{ default: Command }>
}

export interface TableGroup {
  readonly name: string
  readonly aliases?: readonly string[]
  readonly summary: string
  /** what a newcomer needs to know of the noun, a paragraph */
  readonly description: string
  readonly verbs: readonly TableEntry[]
}

export interface Section {
  readonly title: string
  readonly entries: readonly (TableEntry | TableGroup)[]
}

/** Every command, in the order of the help. */
export const sections: readonly Section[] = [
  {
    title: 'Run vms',
    entries: [
      {
        name: 'run',
        summary: 'Boot a vm from an image, and run a command in it',
        load: () => import('./commands/run.ts'),
      },
      { name: 'create', summary: 'Create a vm without starting it', load: () => import('./commands/create.ts') },
      { name: 'start', summary: 'Start stopped vms', load: () => import('./commands/start.ts') },
      { name: 'stop', summary: 'Ask vms to shut down', load: () => import('./commands/stop.ts') },
      { name: 'kill', summary: 'End vms at once', load: () => import('./commands/kill.ts') },
      {
        name: 'pause',
        summary: 'Stop vms from executing, keeping their memory',
        load: () => import('./commands/pause.ts'),
      },
      { name: 'resume', summary: 'Let paused vms go on', load: () => import('./commands/resume.ts') },
      {
        name: 'update',
        summary: 'Change the name, times and limits of a vm',
        load: () => import('./commands/update.ts'),
      },
      { name: 'rm', summary: 'Remove vms and their disks', load: () => import('./commands/rm.ts') },
    ],
  },
  {
    title: 'Work inside',
    entries: [
      { name: 'exec', summary: 'Run a command in a vm', load: () => import('./commands/exec.ts') },
      { name: 'shell', summary: 'Open a shell in a vm', load: () => import('./commands/shell.ts') },
      { name: 'cp', summary: 'Copy files between a vm and this machine', load: () => import('./commands/cp.ts') },
      { name: 'logs', summary: 'Show the console of a vm', load: () => import('./commands/logs.ts') },
      { name: 'ps', summary: 'List processes started in a vm', load: () => import('./commands/ps.ts') },
      { name: 'port', summary: 'Publish ports of a vm on this machine', load: () => import('./commands/port.ts') },
    ],
  },
  {
    title: 'Fork',
    entries: [
      {
        name: 'fork',
        aliases: ['branch'],
        summary: 'Fork a template or a running vm, memory and all',
        load: () => import('./commands/fork.ts'),
      },
      {
        name: 'clone',
        summary: 'Copy the disks of a vm, without its memory',
        load: () => import('./commands/clone.ts'),
      },
      {
        name: 'template',
        aliases: ['templates'],
        summary: 'Sealed parents to fork from',
        description:
          'A template is a vm that was stopped in the state you want and sealed: services up, caches warm. Children forked from it share its memory, copy-on-write, and start in milliseconds.',
        verbs: [
          {
            name: 'create',
            summary: 'Make a template from a vm or an image',
            load: () => import('./commands/template-create.ts'),
          },
          { name: 'ls', summary: 'List templates', load: () => import('./commands/template-ls.ts') },
          {
            name: 'inspect',
            summary: 'Show all that is known of a template',
            load: () => import('./commands/template-inspect.ts'),
          },
          { name: 'rm', summary: 'Remove templates', load: () => import('./commands/template-rm.ts') },
        ],
      },
      {
        name: 'snapshot',
        aliases: ['snapshots'],
        summary: 'Vms saved as they were at one moment',
        description:
          'A snapshot is the memory, the devices and the disks of a vm at one moment, saved on disk. The vm goes on; what is saved stays when it is gone, and moves to other hosts as one file.',
        verbs: [
          { name: 'create', summary: 'Save a vm, which runs on', load: () => import('./commands/snapshot-create.ts') },
          { name: 'ls', summary: 'List snapshots', load: () => import('./commands/snapshot-ls.ts') },
          {
            name: 'inspect',
            summary: 'Show all that is known of a snapshot',
            load: () => import('./commands/snapshot-inspect.ts'),
          },
          {
            name: 'export',
            summary: 'Write a snapshot to one file',
            load: () => import('./commands/snapshot-export.ts'),
          },
          {
            name: 'import',
            summary: 'Import a snapshot that was exported',
            load: () => import('./commands/snapshot-import.ts'),
          },
          {
            name: 'restore',
            summary: 'Go back to a snapshot, or make vms of it',
            load: () => import('./commands/snapshot-restore.ts'),
          },
          { name: 'rm', summary: 'Remove snapshots', load: () => import('./commands/snapshot-rm.ts') },
        ],
      },
      { name: 'tree', summary: 'Draw what was forked from what', load: () => import('./commands/tree.ts') },
    ],
  },
  {
    title: 'Look',
    entries: [
      { name: 'ls', aliases: ['list'], summary: 'List vms', load: () => import('./commands/ls.ts') },
      { name: 'inspect', summary: 'Show all that is known of a thing', load: () => import('./commands/inspect.ts') },
      { name: 'stats', summary: 'Show what vms use', load: () => import('./commands/stats.ts') },
      { name: 'events', summary: 'Follow what happens', load: () => import('./commands/events.ts') },
      {
        name: 'image',
        aliases: ['images'],
        summary: 'Images that vms boot from',
        description:
          'An image is a kernel, the guest agent and maybe a root disk. It never changes; vms write to deltas over it.',
        verbs: [
          { name: 'ls', summary: 'List images', load: () => import('./commands/image-ls.ts') },
          { name: 'build', summary: 'Build an image by its recipe', load: () => import('./commands/image-build.ts') },
          {
            name: 'import',
            summary: 'Import a root file system or a disk',
            load: () => import('./commands/image-import.ts'),
          },
          { name: 'rm', summary: 'Remove images', load: () => import('./commands/image-rm.ts') },
        ],
      },
      {
        name: 'operation',
        aliases: ['operations', 'op'],
        summary: 'Long actions, under way and past',
        description:
          'Whatever takes a while is an operation of the daemon: it goes on when its client is gone, and can be cancelled.',
        verbs: [
          { name: 'ls', summary: 'List operations', load: () => import('./commands/operation-ls.ts') },
          {
            name: 'inspect',
            summary: 'Show all that is known of an operation',
            load: () => import('./commands/operation-inspect.ts'),
          },
          { name: 'cancel', summary: 'Cancel operations', load: () => import('./commands/operation-cancel.ts') },
        ],
      },
    ],
  },
  {
    title: 'This machine',
    entries: [
      {
        name: 'doctor',
        summary: 'Say what is slow or missing here, and the remedy',
        load: () => import('./commands/doctor.ts'),
      },
      { name: 'serve', summary: 'Run, stop or install the daemon', load: () => import('./commands/serve.ts') },
      { name: 'bench', summary: 'Measure', load: () => import('./commands/bench.ts') },
      {
        name: 'completion',
        summary: 'Print a script that completes commands in your shell',
        load: () => import('./commands/completion.ts'),
      },
      {
        name: 'version',
        summary: 'Show the versions of this program and of the daemon',
        load: () => import('./commands/version.ts'),
      },
    ],
  },
]

export const entries: readonly (TableEntry | TableGroup)[] = sections.flatMap((section) => section.entries)

/** The entry of a name or an alias. */
export function findEntry<T extends { name: string; aliases?: readonly string[] }>(
  list: readonly T[],
  name: string,
): T | undefined {
  return list.find((entry) => entry.name === name || entry.aliases?.includes(name))
}
