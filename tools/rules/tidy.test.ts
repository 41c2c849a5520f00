import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readSources, type SourceFile } from './source.ts'

const maxFileLines = 600
const maxAgentFileLines = 400
const medianFileLines = 120

const production = readSources('src/**/*.ts', 'guest/image/**/*.ts')
const everything = readSources('{src,test,tools,bench,sim,guest}/**/*.{ts,mjs}')
const agent = readSources('guest/agent/**/*.{c,h}')

interface BannedCall {
  pattern: RegExp
  why: string
  except?: RegExp
}

const banned: BannedCall[] = [
  {
    pattern: /\bimport\b.*\bexec(Sync)?\b.*node:child_process|\bshell:\s*true/,
    why: 'a shell splits and expands what users named; spawn with an argument array',
  },
  {
    pattern: /['"`]exec:/,
    why: 'migration to an exec: URI makes a sandboxed QEMU die of SIGSYS; hand it a descriptor or a unix socket',
  },
  {
    pattern: /-runas\b/,
    why: 'QEMU dies of it under elevateprivileges=deny; drop privileges when spawning',
  },
  {
    pattern: /virtio-balloon|free-page-reporting|virtio-mem/,
    why: 'it punches holes into the shared base and wipes it under all siblings',
    except: /^src\/qemu\//,
  },
  {
    pattern: /\bthrow new Error\(/,
    why: 'a bare Error has no code and no remedy; throw a RametError',
    except: /^(tools|test|bench)\//,
  },
]

const isTest = (file: SourceFile) => /\.(test|campaign)\.ts$|\/testing\/|^tools\/rules\//.test(file.path)

function linesOf(file: SourceFile): number {
  return file.lines.length - 1
}

test(`no file is longer than ${maxFileLines} lines, none of the agent's than ${maxAgentFileLines}`, () => {
  const long = [
    ...everything.filter((file) => linesOf(file) > maxFileLines),
    ...agent.filter((file) => linesOf(file) > maxAgentFileLines),
  ].map((file) => `${file.path}: ${linesOf(file)} lines`)
  assert.deepEqual(long, [], 'each of these probably holds two ideas; give each its own file')
})

test(`the median source file has at most ${medianFileLines} lines`, () => {
  const sizes = production
    .filter((file) => !isTest(file))
    .map(linesOf)
    .sort((a, b) => a - b)
  const median = sizes[Math.floor(sizes.length / 2)] ?? 0
  assert.ok(median <= medianFileLines, `the median is ${median}; split the crowded files`)
})

test('banned calls are not made', () => {
  const found: string[] = []
  for (const file of everything.filter((candidate) => !isTest(candidate))) {
    for (const { pattern, why, except } of banned) {
      if (except?.test(file.path)) continue
      file.lines.forEach((line, index) => {
        if (pattern.test(line) && !/^\s*(\/\/|\*|\/\*)/.test(line) && !line.includes('why:'))
          found.push(`${file.path}:${index + 1}: ${why}`)
      })
    }
  }
  assert.deepEqual(found, [])
})

test('nothing is left over', () => {
  const found: string[] = []
  const leftover = /\b(TODO|FIXME|XXX|HACK)\b|\b(test|it|describe)\.(only|skip|todo)\(|\bdebugger\b/
  for (const file of [...everything, ...agent].filter((candidate) => !candidate.path.startsWith('tools/rules/'))) {
    file.lines.forEach((line, index) => {
      if (leftover.test(line)) found.push(`${file.path}:${index + 1}: ${line.trim()}`)
    })
  }
  assert.deepEqual(found, [], 'finish it, or say in docs/limitations.md that it is missing')
})

/** A function's line count by its indentation: from its opening line to the closing brace at the same depth. */
function longFunctions(file: SourceFile, maxLines: number): string[] {
  const start =
    /^(\s*)(?:export )?(?:default )?(?:async )?(?:function\b|(?:static |private |async |get |set |\*)*[\w#]+\([^)]*\).*\{$|(?:const|let) \w+ = (?:async )?(?:\([^)]*\)|\w+).*=> \{$)/
  const found: string[] = []
  file.lines.forEach((line, index) => {
    const match = start.exec(line)
    if (match === null || !line.trimEnd().endsWith('{') || /^\s*(if|for|while|switch|catch)\b/.test(line)) return
    const close = `${match[1]}}`
    const end = file.lines.findIndex((other, at) => at > index && (other === close || other.startsWith(`${close})`)))
    if (end - index + 1 > maxLines) found.push(`${file.path}:${index + 1}: ${end - index + 1} lines`)
  })
  return found
}

test('no function is longer than 70 lines', () => {
  const found = production.filter((file) => !isTest(file)).flatMap((file) => longFunctions(file, 70))
  assert.deepEqual(found, [], 'keep control flow in the parent and move leaf work into named functions')
})
