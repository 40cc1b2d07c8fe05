import { amountMicro, type AmountMicro } from '../../protocol/amount.ts';
import { decodeSign1, signSign1 } from '../../protocol/cose.ts';
import { offerHash } from '../../protocol/ids.ts';
import { invariant } from '../../protocol/kiri-error.ts';
import { OFFER, type Offer } from '../../protocol/messages/offer.ts';
import { PAYMENT, type Payment } from '../../protocol/messages/payment.ts';
import type { Signer } from '../../protocol/public-key.ts';

/**
 * The bytes that attackers send. Each function makes one message that only a thief, a liar or a cloned device would make;
 * what it must be answered with stands beside it.
 */

/** The line that an attack is made on or in the name of. */
export interface Account {
  readonly line: Uint8Array;
  readonly counter: number;
  /** Gross total before the Payment. */
  readonly totalBeforeMicro: AmountMicro;
  readonly releasedMicro?: AmountMicro;
  readonly timeS: number;
}

interface OpenedOffer {
  readonly offer: Offer;
  readonly hash: Uint8Array;
}

function openOffer(offerCose: Uint8Array): OpenedOffer {
  const sign1 = decodeSign1(offerCose);
  invariant(sign1.ok, 'an attack starts from a readable Offer');
  const offer = OFFER.decode(sign1.value.payload);
  invariant(offer.ok, 'an attack starts from a readable Offer');
  return { offer: offer.value, hash: offerHash(sign1.value.payload) };
}

function paymentFor(account: Account, { offer, hash }: OpenedOffer): Payment {
  return {
    line: account.line,
    approver: offer.approver,
    payee: offer.payee,
    counter: account.counter,
    amountMicro: offer.amountMicro,
    totalMicro: amountMicro(account.totalBeforeMicro + offer.amountMicro),
    ...(account.releasedMicro === undefined ? {} : { releasedMicro: account.releasedMicro }),
    currency: offer.currency,
    offerHash: hash,
    timeS: account.timeS,
    timeQuality: 1,
  };
}

/**
 * A Payment signed with a device key outside its device: a clone, a restored image, a tampered balance. What becomes of it
 * depends on the account that it claims:
 * - a counter that the line has used: EQUIVOCATION, proof (a)
 * - a free counter, but a total that leaves out what was paid before it: EQUIVOCATION, proof (b)
 * - a total above the allowance, as after editing 50 to 100: CEILING_EXCEEDED or UPPER_LIMIT
 * - an Offer that was paid before: OFFER_USED
 */
export function clonedPayment(device: Signer, account: Account, offerCose: Uint8Array): Uint8Array {
  return signSign1(device, PAYMENT.encode(paymentFor(account, openOffer(offerCose))));
}

/** A Payment on the victim's line signed with the thief's own key: BAD_SIGNATURE. */
export function forgedSender(thief: Signer, victim: Account, offerCose: Uint8Array): Uint8Array {
  return clonedPayment(thief, victim, offerCose);
}

const NO_SIGNATURE: Uint8Array = new Uint8Array(64);

/** A well-formed Payment with the victim's counter and no signature: BAD_SIGNATURE, and it must leave no trace on the line. */
export function unsignedJunk(
  victimKey: Signer['key'],
  victim: Account,
  offerCose: Uint8Array,
): Uint8Array {
  return clonedPayment({ key: victimKey, sign: () => NO_SIGNATURE }, victim, offerCose);
}

/** The Payment with another amount and its old signature: BAD_SIGNATURE. */
export function raisedAmount(paymentCose: Uint8Array, byMicro: bigint): Uint8Array {
  const sign1 = decodeSign1(paymentCose);
  invariant(sign1.ok, 'an attack starts from a readable Payment');
  const payment = PAYMENT.decode(sign1.value.payload);
  invariant(payment.ok, 'an attack starts from a readable Payment');
  const { signature, header } = sign1.value;
  const payload = PAYMENT.encode({
    ...payment.value,
    amountMicro: amountMicro(payment.value.amountMicro + byMicro),
    totalMicro: amountMicro(payment.value.totalMicro + byMicro),
  });
  const key = { alg: header.alg, point: NO_SIGNATURE, id: NO_SIGNATURE, hex: '' };
  return signSign1({ key, sign: () => signature }, payload);
}

/** One byte changed: never accepted, whatever the byte. */
export function flippedByte(bytes: Uint8Array, at: number): Uint8Array {
  const changed = bytes.slice();
  changed[at % changed.length]! ^= 0x55;
  return changed;
}
