import { defineCommand, required } from '../command.ts'
import { copyIn, copyOut } from '../copy.ts'
import { parseCopyPath } from '../parse/vm-path.ts'
import { resolveVm } from '../resolve.ts'
import { UsageError } from '../show-error.ts'

export default defineCommand({
  description:
    'Copies a file or a directory into a vm or out of it. The side in the vm is written VM:PATH; a path without a leading slash is under /root. As with cp, what is copied goes into a target that is a directory, and else becomes the target. Directories need tar on both sides, which most images have.',
  examples: [
    { line: 'ramet cp notes.txt web:/srv/', does: 'A file into a vm.' },
    { line: 'ramet cp web:/var/log ./log', does: 'A directory out of a vm.' },
    { line: 'ramet cp web:/etc/hostname -', does: 'A file to the output.' },
  ],
  arguments: {
    source: required('PATH here, or VM:PATH', 'vm'),
    target: required('PATH here, or VM:PATH; - is the output', 'vm'),
  },
  options: {},
  run: async ({ args }, context) => {
    const source = parseCopyPath(args.source)
    const target = parseCopyPath(args.target)
    if ((source.vm === undefined) === (target.vm === undefined))
      throw new UsageError(
        source.vm === undefined ? 'neither side is in a vm' : 'both sides are in a vm',
        'Write one side as VM:PATH, the other as a path here.',
      )
    const ramet = await context.ramet()
    const vm = await resolveVm(ramet, source.vm ?? target.vm ?? '', context.signal)
    if (source.vm === undefined) await copyIn(context, vm, source.path, target.path)
    else await copyOut(context, vm, source.path, target.path)
    return undefined
  },
})
