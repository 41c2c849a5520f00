import type { FileDigest } from '../../disk/file-stamp.ts'
import { causeChain, RametError } from '../../shared/errors.ts'
import type { EngineContext } from '../context.ts'
import type { Fingerprint } from '../records.ts'
import { imageRef } from '../vm/vm-view.ts'

/**
 * The refusal of a base, or of a disk of a snapshot, that is not what it was: which file, whose, what differs, and what to do.
 *
 * @param found what is there instead, or why it could not be read
 */
export function damagedBase(
  context: EngineContext,
  known: Fingerprint,
  found: Pick<FileDigest, 'sha256' | 'stamp'> | unknown,
): RametError {
  const owner = ownerOf(context, known)
  const differs = isDigest(found) ? contentDiffers(known, found) : reasonOf(found)
  const users = usersOf(context, known)
  return new RametError(known.owner === 'snapshot' ? 'CHECKPOINT_DAMAGED' : 'BASE_DAMAGED', {
    message: `${known.file} of ${owner.what} is damaged: ${differs}`,
    remediation: `Put the file back as it was${owner.instead}`,
    ...(isDigest(found) ? {} : { cause: found }),
    details: {
      path: `${known.owner}s/${known.id}`,
      owner: { kind: known.owner, id: known.ownerId, name: owner.name },
      differs,
      expectedSha256: known.sha256,
      ...(isDigest(found) ? { foundSha256: found.sha256 } : {}),
      dependents: users,
    },
  })
}

function isDigest(found: unknown): found is FileDigest {
  return typeof found === 'object' && found !== null && 'sha256' in found && 'stamp' in found
}

function contentDiffers(known: Fingerprint, { stamp }: FileDigest): string {
  const sizeBytes = known.stamp.sizeBytes
  // A draft, which was never recorded, has no size yet.
  if (known.stamp.inode === '' || sizeBytes === stamp.sizeBytes) return 'its content has changed'
  return `it has ${stamp.sizeBytes} bytes instead of ${sizeBytes}`
}

function reasonOf(found: unknown): string {
  if (found instanceof RametError && typeof found.details.what === 'string') return `it ${found.details.what}`
  if (found instanceof Error) return found.message
  if (typeof found === 'string') return found
  return causeChain(found) ?? 'it cannot be read'
}

interface Owner {
  name: string
  what: string
  /** ends the sentence, and says what cannot be until then */
  instead: string
}

const untilThen = 'What stands on it cannot be started until then.'

function ownerOf({ images, templates, snapshots }: EngineContext, { owner, ownerId }: Fingerprint): Owner {
  if (owner === 'snapshot') {
    const name = snapshots.get(ownerId)?.name ?? ownerId
    return {
      name,
      what: `snapshot ${name}`,
      instead: `; else nothing can be restored of it: \`ramet snapshot rm ${name}\`.`,
    }
  }
  if (owner === 'template') {
    const name = templates.get(ownerId)?.name ?? ownerId
    return {
      name,
      what: `template ${name}`,
      instead: `, or remove what stands on it, then \`ramet template rm ${name}\`, and make it again. ${untilThen}`,
    }
  }
  const image = images.get(ownerId)
  const name = image === undefined ? ownerId : imageRef(image)
  return {
    name,
    what: `image ${name}`,
    instead: `, or remove what stands on it, then \`ramet image rm ${name}\`, and build or import it again. ${untilThen}`,
  }
}

/** Names of what cannot be started any more. */
function usersOf({ vms, templates }: EngineContext, { owner, ownerId }: Fingerprint): string[] {
  return [...vms.list(), ...templates.list()]
    .filter(
      (thing) =>
        (owner === 'image' && thing.imageId === ownerId) || thing.disks.some(({ base }) => base?.ownerId === ownerId),
    )
    .map(({ name }) => name)
}
