import { createReadStream } from 'node:fs'
import { basename } from 'node:path'
import { RametError } from '../../shared/errors.ts'
import { defineCommand, flag, parsed, required, value } from '../command.ts'
import { showOne } from '../output.ts'
import { oneOf } from '../parse/number.ts'
import { checkReadable } from '../readable-file.ts'

const formats = ['auto', 'tar', 'ext4', 'qcow2'] as const

export default defineCommand({
  description:
    'Makes an image of a file of yours: a root file system as tar (plain, gzip or zstd), or a disk as ext4 or qcow2. The kernel and the agent are added. Give --init system when its own init shall be the first process, as for an image with systemd.',
  examples: [
    { line: 'ramet image import rootfs.tar.gz --name mine', does: 'Imports a root file system.' },
    { line: 'docker export box | ramet image import - --name box', does: 'Imports what comes in.' },
  ],
  arguments: { file: required('file to import, or - for what comes in', 'file') },
  options: {
    name: value('-n, --name <name>', 'name; that of the file when left out'),
    format: parsed('--format <format>', 'auto (the default), tar, ext4 or qcow2', oneOf(...formats), formats),
    init: parsed('--init <kind>', 'first process: agent (the default) or system', oneOf('agent', 'system')),
    replace: flag('--replace', 'give the name to this image even if another has it'),
  },
  run: async ({ args, options }, context) => {
    const name = options.name ?? nameFromFile(args.file)
    if (args.file !== '-') await checkReadable(args.file)
    const ramet = await context.ramet()
    const image = await ramet.images.import(args.file === '-' ? context.io.stdin : createReadStream(args.file), {
      name,
      replace: options.replace,
      ...(options.format === undefined ? {} : { format: options.format }),
      ...(options.init === undefined ? {} : { init: options.init }),
      ...context.action(`importing ${name}`),
    })
    context.progress.clear()
    await showOne(context, image, `${image.name}:${image.tag}`)
    return undefined
  },
})

function nameFromFile(file: string): string {
  const name = basename(file)
    .replace(/\.(tar|tgz|ext4|qcow2|img)(\..*)?$/i, '')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '')
  if (name !== '') return name
  throw new RametError('INVALID_ARGUMENT', { message: 'the image needs a name', remediation: 'Give --name NAME.' })
}
