import { toHex } from '../../protocol/bytes.ts';
import { decodeSign1 } from '../../protocol/cose.ts';
import { payloadHash } from '../../protocol/ids.ts';
import { KiriError } from '../../protocol/kiri-error.ts';
import { PAYMENT, type Payment } from '../../protocol/messages/payment.ts';

/** What a world was found to have broken. `code` of the error is SIM_VIOLATION. */
export type InvariantName =
  | 'accepted is durable before it leaves'
  | 'a Payment is durable before it leaves'
  | 'one counter, one acceptance'
  | 'one counter, one Payment'
  | 'one Offer, one acceptance'
  | 'Receipt and Void exclude each other'
  | 'a stored answer is never rebuilt'
  | 'sequences run on'
  | 'an honest device is never accused'
  | 'a clone is proven'
  | 'exposure stays within its caps'
  | 'outcomes are final and true'
  | 'a gate opens only for an accepted Payment'
  | 'a gate opens once for a Payment'
  | 'the ledger hears of every answer'
  | 'value is conserved'
  | 'everything ends when the faults stop'
  | 'a head is durable before its signature leaves'
  | 'a log signs one history'
  | 'nothing new is signed before the quorum confirms the start'
  | 'a cosignature leaves when its head is durable'
  | 'a witness stands by one history'
  | 'a mirror cosigns only what it holds'
  | 'two histories never both have a quorum'
  | 'final means that the policy is met'
  | 'levels never fall'
  | 'an honest log is never stopped or accused'
  | 'a forged history is stopped and shown'
  | 'every answer is in the log once, in order'
  | 'nothing final is lost'
  | 'final is settleable'
  | 'erased is gone, the rest stays'
  | 'everything becomes final when the faults stop';

export function violated(invariant: InvariantName, detail: string): never {
  throw new KiriError('SIM_VIOLATION', `${invariant}: ${detail}`);
}

export interface SentPayment {
  readonly hashHex: string;
  readonly payment: Payment;
}

/** The Payment in COSE bytes, with its id; undefined where there is none. */
export function readPayment(cose: Uint8Array): SentPayment | undefined {
  const sign1 = decodeSign1(cose);
  if (!sign1.ok) return undefined;
  const payment = PAYMENT.decode(sign1.value.payload);
  if (!payment.ok) return undefined;
  return { hashHex: toHex(payloadHash(sign1.value.payload)), payment: payment.value };
}

/** Two Payments that no honest device signs (DESIGN §4): one counter with two contents, or i < j with total_j − amount_j < total_i. */
export function contradict(a: Payment, b: Payment): boolean {
  if (a.counter === b.counter) return toHex(PAYMENT.encode(a)) !== toHex(PAYMENT.encode(b));
  const [low, high] = a.counter < b.counter ? [a, b] : [b, a];
  return high.totalMicro - high.amountMicro < low.totalMicro;
}
