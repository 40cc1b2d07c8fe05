import { bytesEqual } from '../../../protocol/bytes.ts';
import { decodeSign1, verifySign1 } from '../../../protocol/cose.ts';
import { payloadHash } from '../../../protocol/ids.ts';
import { CREDIT } from '../../../protocol/messages/after-payment.ts';
import type { PublicKey, Verifier } from '../../../protocol/public-key.ts';
import { accepted, refused, type Checked } from '../../../protocol/refusal.ts';
import type { VerifiedCredit } from './credit.ts';
import type { LogPlace } from './ingest.ts';

/** The Payment that a refund came with, and the key that it names as payee. */
export interface RefundedPayment {
  readonly paymentHash: Uint8Array;
  readonly payeeKey: PublicKey;
}

/**
 * A refund beside its Payment: the payee's word on this Payment and no other. The key is the one that was paid, whoever
 * it belongs to now, so a gate that was sold can still give back what it took.
 */
export function readCredit(
  verifier: Verifier,
  cose: Uint8Array,
  { paymentHash, payeeKey }: RefundedPayment,
  { origin, leafIndex, cosignedAtS }: LogPlace & { readonly cosignedAtS: number },
): Checked<VerifiedCredit> {
  const sign1 = decodeSign1(cose);
  if (!sign1.ok) return refused(sign1.code, `Credit: ${sign1.reason}`);
  const credit = CREDIT.decode(sign1.value.payload);
  if (!credit.ok) return refused(credit.code, `Credit: ${credit.reason}`);
  if (!bytesEqual(credit.value.paymentHash, paymentHash)) {
    return refused('MALFORMED', 'the credit is for another Payment');
  }
  if (!verifySign1(verifier, payeeKey, sign1.value)) {
    return refused('BAD_SIGNATURE', 'the credit is not signed by the payee that the Payment names');
  }
  const { refundedMicro, reason, timeS } = credit.value;
  const isTimeFlagged = timeS > cosignedAtS;
  return accepted({
    kind: 'credit',
    origin,
    leafIndex,
    creditHash: payloadHash(sign1.value.payload),
    paymentHash,
    refundedMicro,
    reason,
    businessTimeS: isTimeFlagged ? cosignedAtS : timeS,
    isTimeFlagged,
  });
}
