import { RametError } from '../../shared/errors.ts'
import { limits } from '../../shared/limits.ts'
import { sectionType, streamHeader } from './wire.ts'

/**
 * The device sections out of a file that `xen-save-devices-state` wrote: header, sections, end mark.
 * The sections have no lengths, so only the frame can be checked; QEMU checks the rest when it loads them.
 *
 * @throws RametError `VMM_FAILED` when the file is not whole
 */
export function extractDeviceBlob(file: Buffer): Buffer {
  if (file.length > limits.deviceStateBytes) throw damaged(`${file.length} bytes, more than the limit`)
  if (!file.subarray(0, streamHeader.length).equals(streamHeader)) throw damaged('no header')
  if (file[streamHeader.length] !== sectionType.full) throw damaged('no device section after the header')
  const footerAt = file.length - 6
  if (footerAt <= streamHeader.length || file[footerAt] !== sectionType.footer) throw damaged('no footer at the end')
  if (file[file.length - 1] !== sectionType.eof) throw damaged('no end mark')
  return file.subarray(streamHeader.length, file.length - 1)
}

const damaged = (why: string) =>
  new RametError('VMM_FAILED', { message: `the device state that QEMU saved is damaged: ${why}` })
