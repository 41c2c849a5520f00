import { spawn } from 'node:child_process'
import { globSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { repositoryRoot } from './rules/source.ts'

export interface PhaseResult {
  name: string
  ok: boolean
  passed: number
  failed: number
  seconds: number
}

/**
 * What node has compiled, kept from one process and one run to the next: most of what each test file, daemon and
 * command line would otherwise do first. Node knows by content and version what is stale; who may not write it does without.
 */
const compileCache = join(repositoryRoot, '.cache', 'compile')

/** How many test files run at once: under emulation a guest keeps about one core busy, and waits now and then. */
const togetherCount = Math.min(2, availableParallelism())

/** Runs a program of the checkout with its output passed through; resolves with its exit code and what it counted. */
function runProgram(args: string[], environment: NodeJS.ProcessEnv): Promise<{ code: number; output: string }> {
  const [program = '', ...rest] = args
  return new Promise((resolve) => {
    const child = spawn(program, rest, {
      cwd: repositoryRoot,
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { NODE_COMPILE_CACHE: compileCache, ...process.env, ...environment },
    })
    let output = ''
    child.stdout.setEncoding('utf8')
    child.stdout.on('data', (text: string) => {
      output += text
      process.stdout.write(text)
    })
    const stop = () => child.kill('SIGINT')
    process.once('SIGINT', stop)
    child.on('close', (code) => {
      process.off('SIGINT', stop)
      resolve({ code: code ?? 1, output })
    })
  })
}

function countOf(output: string, what: string): number {
  return [...output.matchAll(new RegExp(`^ℹ ${what} (\\d+)$`, 'gm'))].reduce((sum, match) => sum + Number(match[1]), 0)
}

/** One step of the checks: a headline, a program, and a count (a program without test lines counts as one). */
export async function runPhase(
  name: string,
  args: string[],
  environment: NodeJS.ProcessEnv = {},
): Promise<PhaseResult> {
  process.stdout.write(`\n── ${name}\n`)
  const startedMs = performance.now()
  const { code, output } = await runProgram(args, environment)
  const counted = /^ℹ tests \d+$/m.test(output)
  const failed = counted ? countOf(output, 'fail') + countOf(output, 'cancelled') : Number(code !== 0)
  const passed = counted ? countOf(output, 'pass') : Number(code === 0)
  const noTests = counted && passed + failed === 0
  return {
    name,
    ok: code === 0 && !noTests,
    passed,
    failed: code !== 0 && failed === 0 ? 1 : failed,
    seconds: (performance.now() - startedMs) / 1000,
  }
}

export const tool = (name: string) => join(repositoryRoot, 'node_modules', '.bin', name)

/** Files of tests by their globs, in order. */
export function testFiles(...globs: string[]): string[] {
  return globs.flatMap((glob) => globSync(glob, { cwd: repositoryRoot })).sort()
}

/** The command that runs test files, one at a time or some together. */
export function nodeTest(files: readonly string[], way: 'alone' | 'together'): string[] {
  const count = way === 'alone' ? 1 : togetherCount
  return [process.execPath, '--test', '--test-reporter=spec', `--test-concurrency=${count}`, ...files]
}

/** Prints the table and the closing line; returns the exit code. */
export function report(results: PhaseResult[]): number {
  process.stdout.write('\n')
  for (const result of results) {
    const verdict = result.ok ? 'ok    ' : 'FAILED'
    process.stdout.write(`${verdict} ${result.name.padEnd(44)} ${result.seconds.toFixed(1).padStart(7)} s\n`)
  }
  const passed = results.reduce((sum, result) => sum + result.passed, 0)
  const failed = results.reduce((sum, result) => sum + result.failed, 0)
  process.stdout.write(`\n${passed} passed, ${failed} failed\n`)
  return results.every((result) => result.ok) ? 0 : 1
}
