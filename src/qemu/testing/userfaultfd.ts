import { offerToQemu } from '../process.ts'

const offer = await offerToQemu()

/** Why tests that need a QEMU with userfaultfd cannot run here; false where they can. */
export const withoutUserfaultfd: string | false = 'why' in offer && offer.why
