import { deflateSync, inflateSync } from 'node:zlib';
import { accepted, refused, type Checked } from '../../protocol/refusal.ts';
import { MAX_STATUS_INDEX } from '../core/documents/standard.ts';
import type { StatusListToken } from '../core/documents/status-list.ts';
import type { StatusList } from '../core/status-list.ts';

/** Inflated entries at most: every index at 8 bits. */
const MAX_INFLATED_BYTES = MAX_STATUS_INDEX + 1;

/** Inflates a list whose signature has been checked, never beyond 1 MiB: TOO_LARGE, MALFORMED. */
export function inflateStatusList(token: StatusListToken): Checked<StatusList> {
  const { uri, version, issuedS, expiresS, packed } = token;
  try {
    const bytes = inflateSync(packed.compressed, { maxOutputLength: MAX_INFLATED_BYTES });
    return accepted({
      uri,
      version,
      issuedS,
      expiresS,
      bits: packed.bits,
      bytes: new Uint8Array(bytes),
    });
  } catch (error) {
    const tooLarge = (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE';
    return tooLarge
      ? refused('TOO_LARGE', `status list: more than ${MAX_INFLATED_BYTES} bytes inflated`)
      : refused('MALFORMED', `status list: ${(error as Error).message}`);
  }
}

/** One bit per entry, the revoked ones set; the form that `issueStatusList` signs. */
export function packStatuses(
  entries: number,
  revoked: Iterable<number>,
): StatusListToken['packed'] {
  const bytes = new Uint8Array(Math.ceil(entries / 8));
  for (const index of revoked) bytes[index >> 3]! |= 1 << (index & 7);
  return { bits: 1, compressed: new Uint8Array(deflateSync(bytes, { level: 9 })) };
}
