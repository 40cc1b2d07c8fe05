import { bytesEqual, toHex } from '../../protocol/bytes.ts';
import { decodeSign1, verifySign1 } from '../../protocol/cose.ts';
import { payloadHash } from '../../protocol/ids.ts';
import { MISBEHAVIOUR_PROOF } from '../../protocol/messages/evidence.ts';
import { PAYMENT, type Payment } from '../../protocol/messages/payment.ts';
import { accepted, refused, type Checked } from '../../protocol/refusal.ts';
import type { VerifiedBinding } from '../../identity/core/chain.ts';
import { conflictBetween, type ConflictRule } from '../../sync/clearing/core/ingest.ts';
import type { DocumentBook } from './documents.ts';

/** What a proof of misbehaviour proves, and against whom. */
export interface ProvenMisbehaviour {
  readonly rule: ConflictRule;
  readonly bound: VerifiedBinding;
}

interface SignedPayment {
  readonly payment: Payment;
  readonly paymentHash: Uint8Array;
}

function openPayment(
  book: DocumentBook,
  bound: VerifiedBinding,
  cose: Uint8Array,
  which: string,
): Checked<SignedPayment> {
  const sign1 = decodeSign1(cose);
  if (!sign1.ok) return refused(sign1.code, `${which} Payment: ${sign1.reason}`);
  const payment = PAYMENT.decode(sign1.value.payload);
  if (!payment.ok) return refused(payment.code, `${which} Payment: ${payment.reason}`);
  if (toHex(payment.value.line) !== bound.lineHex) {
    return refused('MALFORMED', `the ${which} Payment is of another line than the binding`);
  }
  if (!verifySign1(book.trust.verifier, bound.deviceKey, sign1.value)) {
    return refused('BAD_SIGNATURE', `the ${which} Payment is not signed by the bound device`);
  }
  return accepted({ payment: payment.value, paymentHash: payloadHash(sign1.value.payload) });
}

/**
 * Judges a proof (DESIGN §4): two Payments of one line, both signed by its device, with (a) one counter and different
 * payloads, or (b) i < j and total_j − amount_j < total_i. A gap, a replay or a stranger's Payment proves nothing.
 */
export function checkProof(book: DocumentBook, bytes: Uint8Array): Checked<ProvenMisbehaviour> {
  const proof = MISBEHAVIOUR_PROOF.decode(bytes);
  if (!proof.ok) return proof;
  const bound = book.openBinding(proof.value.binding);
  if (!bound.ok) return refused(bound.code, `its binding: ${bound.reason}`);
  const earlier = openPayment(book, bound.value, proof.value.earlier, 'earlier');
  if (!earlier.ok) return earlier;
  const later = openPayment(book, bound.value, proof.value.later, 'later');
  if (!later.ok) return later;
  if (bytesEqual(earlier.value.paymentHash, later.value.paymentHash)) {
    return refused('MALFORMED', 'one Payment twice proves nothing');
  }
  if (earlier.value.payment.counter > later.value.payment.counter) {
    return refused('MALFORMED', 'the Payments are not in the order of their counters');
  }
  const rule = conflictBetween(
    { ...earlier.value.payment, paymentHash: earlier.value.paymentHash },
    { ...later.value.payment, paymentHash: later.value.paymentHash },
  );
  if (rule === undefined) {
    return refused('MALFORMED', 'an honest device could have signed both Payments');
  }
  return accepted({ rule, bound: bound.value });
}
