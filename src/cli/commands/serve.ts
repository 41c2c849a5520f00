import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import process from 'node:process'
import { defaultDataDirectory } from '../../client/settings.ts'
import { RametError } from '../../shared/errors.ts'
import { runProgram } from '../child.ts'
import { defineCommand, flag, parsed, type Values } from '../command.ts'
import type { Context } from '../context.ts'
import { stopDaemon } from '../daemon/stop.ts'
import { systemdUnit, unitNextSteps, unitPath } from '../daemon/systemd-unit.ts'
import { line, note } from '../io.ts'
import { oneOf, wholeNumber } from '../parse/number.ts'
import { daemonProgram } from '../programs.ts'
import { UsageError } from '../show-error.ts'

const levels = ['debug', 'info', 'warn', 'error'] as const
const options = {
  http: parsed(
    '--http <port>',
    'also listen on this port of 127.0.0.1, for those who have the token',
    wholeNumber(0, 65535),
  ),
  logLevel: parsed('--log-level <level>', 'debug, info, warn or error', oneOf(...levels), levels),
  stop: flag('--stop', 'end the daemon that runs; its vms run on'),
  install: flag('--install', 'write a systemd unit, and say what to run next'),
  print: flag('--print', 'with --install: only show the unit'),
}

export default defineCommand({
  description:
    'Runs the daemon in the foreground. There is seldom a need to: a command that needs it starts it by itself. It listens on a unix socket in its data directory. Vms do not depend on it: they run on when it ends, and the next daemon takes them over.',
  examples: [
    { line: 'ramet serve --http 7070', does: 'Runs it here, reachable over HTTP too.' },
    { line: 'ramet serve --stop', does: 'Ends the daemon that runs.' },
    { line: 'ramet serve --install', does: 'Has systemd run it.' },
  ],
  arguments: {},
  options,
  ownTimeout: true,
  run: async ({ options }, context) => {
    const dataDirectory = resolve(context.globals.dataDir ?? defaultDataDirectory(context.io.env))
    if (options.print && !options.install) throw new UsageError('--print goes with --install', 'Give both.')
    if (options.stop && options.install) throw new UsageError('--stop or --install?', 'Give one of them.')
    if (options.stop) return await stop(context, dataDirectory)
    if (options.install) return await install(context, dataDirectory, options)
    return await runProgram(context, daemonProgram(), ['--data-dir', dataDirectory, ...passedOn(options)])
  },
})

function passedOn(given: Values<typeof options>): string[] {
  return [
    ...(given.http === undefined ? [] : ['--http', String(given.http)]),
    ...(given.logLevel === undefined ? [] : ['--log-level', given.logLevel]),
  ]
}

async function stop(context: Context, dataDirectory: string): Promise<undefined> {
  const pid = await stopDaemon(dataDirectory, { signal: context.signal, timeoutMs: context.timeoutMs })
  if (context.format === 'json')
    await line(context.io, JSON.stringify({ stopped: pid !== undefined, pid: pid ?? null }))
  else if (!context.quiet)
    await note(context.io, pid === undefined ? 'no daemon runs' : `stopped the daemon (pid ${pid}); its vms run on`)
  return undefined
}

async function install(context: Context, dataDirectory: string, given: Values<typeof options>): Promise<undefined> {
  const system = process.getuid?.() === 0
  const { NODE_COMPILE_CACHE: compileCache } = context.io.env
  const unit = systemdUnit({
    node: process.execPath,
    program: daemonProgram(),
    dataDirectory,
    system,
    daemonArguments: passedOn(given),
    compileCache: compileCache === undefined || compileCache === '' ? undefined : resolve(compileCache),
  })
  if (given.print) {
    await line(context.io, unit.trimEnd())
    return undefined
  }
  const path = unitPath(system, context.io.env)
  try {
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, unit, { mode: 0o644 })
  } catch (cause) {
    throw new RametError('PRIVILEGE', {
      message: `${path} cannot be written`,
      cause,
      remediation: 'Show it with `ramet serve --install --print` and put it where you may.',
    })
  }
  const steps = unitNextSteps(system)
  if (context.format === 'json') await line(context.io, JSON.stringify({ path, next: steps }, null, 2))
  else await line(context.io, [`wrote ${path}`, 'next, run:', ...steps.map((step) => `  ${step}`)].join('\n'))
  return undefined
}
