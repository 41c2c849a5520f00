import { createReadStream } from 'node:fs'
import { defineCommand, required, value } from '../command.ts'
import { showOne } from '../output.ts'
import { checkReadable } from '../readable-file.ts'

export default defineCommand({
  description:
    'Imports a snapshot that was exported, here or on another host. All of it is checked: an archive that is cut short or altered is refused, and so is one that stands on an image or a template that is not here, which is named. With - it comes from the standard input. Interrupted, nothing of it is kept; an interruption that comes when all is checked finds the snapshot there.',
  examples: [
    { line: 'ramet snapshot import upgrade.tar', does: 'Under the name that it had.' },
    { line: 'ramet snapshot import upgrade.tar --name restored', does: 'Under another name.' },
  ],
  arguments: { file: required('file to import, or - for what comes in', 'file') },
  options: { name: value('-n, --name <name>', 'name; that of the archive when left out') },
  run: async ({ args, options }, context) => {
    if (args.file !== '-') await checkReadable(args.file)
    const ramet = await context.ramet()
    const content = args.file === '-' ? context.io.stdin : createReadStream(args.file)
    const snapshot = await ramet.snapshots.import(content, {
      ...(options.name === undefined ? {} : { name: options.name }),
      ...context.action(`importing ${args.file}`),
    })
    context.progress.clear()
    await showOne(context, snapshot.info, snapshot.name)
    return undefined
  },
})
