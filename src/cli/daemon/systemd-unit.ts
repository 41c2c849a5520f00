import { homedir } from 'node:os'
import { join } from 'node:path'

export interface UnitOptions {
  /** the Node that runs it, and its program */
  node: string
  program: string
  dataDirectory: string
  /** whether it is a unit of the system, else of a user */
  system: boolean
  /** further options of the daemon */
  daemonArguments: readonly string[]
  /** absolute path of a directory where Node keeps what it has compiled; nothing is kept where it is absent */
  compileCache?: string | undefined
}

export const unitName = 'ramet.service'

/** Where the unit goes. */
export function unitPath(system: boolean, env: NodeJS.ProcessEnv): string {
  if (system) return join('/etc/systemd/system', unitName)
  return join(env.XDG_CONFIG_HOME || join(env.HOME || homedir(), '.config'), 'systemd/user', unitName)
}

/** A unit that starts the daemon at boot, and leaves the vms running when it is stopped. */
export function systemdUnit(options: UnitOptions): string {
  const command = [options.node, options.program, '--data-dir', options.dataDirectory, ...options.daemonArguments]
  return `[Unit]
Description=Ramet, forks running virtual machines
After=network.target

[Service]
ExecStart=${command.map(quote).join(' ')}
${environmentOf(options)}Restart=on-failure
RestartSec=1
# Only the daemon is stopped: vms run on, and the next daemon takes them over.
KillMode=process
TimeoutStopSec=30
LimitNOFILE=65536
Delegate=yes

[Install]
WantedBy=${options.system ? 'multi-user.target' : 'default.target'}
`
}

/** As `bin/ramet` has it: a daemon, and a page server, start in half the time. */
function environmentOf({ compileCache }: UnitOptions): string {
  if (compileCache === undefined) return ''
  // Unlike in a command, $ stands for itself here.
  const quoted = compileCache.replaceAll('%', '%%').replace(/[\\"]/g, '\\$&')
  return `Environment="NODE_COMPILE_CACHE=${quoted}"\n`
}

/** systemd splits at spaces, and expands % and $. */
function quote(word: string): string {
  const safe = word.replaceAll('%', '%%').replaceAll('$', '$$$$')
  return /^[A-Za-z0-9_@%+=:,./$-]+$/.test(safe) ? safe : `"${safe.replace(/[\\"]/g, '\\$&')}"`
}

/** What to run once the unit is written. */
export function unitNextSteps(system: boolean): string[] {
  const systemctl = system ? 'systemctl' : 'systemctl --user'
  return [
    `${systemctl} daemon-reload`,
    `${systemctl} enable --now ${unitName}`,
    ...(system ? [] : ['loginctl enable-linger   # so that it runs when you are not logged in']),
  ]
}
