import { bytesEqual } from '../../../protocol/bytes.ts';
import { decodeSign1, verifySign1 } from '../../../protocol/cose.ts';
import { payloadHash } from '../../../protocol/ids.ts';
import { CLOSE } from '../../../protocol/messages/after-payment.ts';
import type { PublicKey, Verifier } from '../../../protocol/public-key.ts';
import { accepted, refused, type Checked } from '../../../protocol/refusal.ts';
import type { LogPlace } from './ingest.ts';

/**
 * A device's end of one of its allowances, after its signature was checked. It moves nothing here: the issuer's desk releases
 * the hold by it (DESIGN section 2).
 */
export type VerifiedClose = LogPlace & {
  readonly kind: 'close';
  /** SHA-256 of the Close's payload. */
  readonly closeHash: Uint8Array;
  readonly line: Uint8Array;
  /** COSE_Sign1 as it came: what the desk checks again. */
  readonly document: Uint8Array;
};

/** A Close beside a Payment of its line. `deviceKeys`: of every binding of the line, for a key may have been replaced since. */
export function readClose(
  verifier: Verifier,
  cose: Uint8Array,
  { line, deviceKeys }: { readonly line: Uint8Array; readonly deviceKeys: readonly PublicKey[] },
  { origin, leafIndex }: LogPlace,
): Checked<VerifiedClose> {
  const sign1 = decodeSign1(cose);
  if (!sign1.ok) return refused(sign1.code, `Close: ${sign1.reason}`);
  const close = CLOSE.decode(sign1.value.payload);
  if (!close.ok) return refused(close.code, `Close: ${close.reason}`);
  if (!bytesEqual(close.value.line, line)) {
    return refused('MALFORMED', 'the close is for another line');
  }
  if (!deviceKeys.some((key) => verifySign1(verifier, key, sign1.value))) {
    return refused('BAD_SIGNATURE', 'the close is not signed by the key of its line');
  }
  const closeHash = payloadHash(sign1.value.payload);
  return accepted({ kind: 'close', origin, leafIndex, closeHash, line, document: cose });
}
