import type { AmountMicro } from '../amount.ts';
import { ID_BYTES, OFFER_HASH_BYTES } from '../ids.ts';
import { AMOUNT, bytes, message, U16, U32, uint, type Codec } from '../schema.ts';
import { accepted, refused, type Checked } from '../refusal.ts';
import { TYPE_PAYMENT } from './types.ts';

/**
 * How far a stated time can be trusted: 0 unknown, 1 own clock, 2 synchronised, 3 signed by the
 * issuer or a witness. A device without a clock says so (device story 4).
 */
export const TIME_UNKNOWN = 0;
export const TIME_OWN_CLOCK = 1;
export const TIME_SYNCHRONISED = 2;

/** DESIGN §3. Signed by the device; names one approver and one payee. */
export interface Payment {
  readonly line: Uint8Array;
  readonly approver: Uint8Array;
  readonly payee: Uint8Array;
  /** Position on the line, from 1; two payloads on one counter are a proof of misbehaviour. */
  readonly counter: number;
  /** > 0 */
  readonly amountMicro: AmountMicro;
  /** Gross cumulative total of the line after this Payment. */
  readonly totalMicro: AmountMicro;
  /** Cumulative sum given back by Voids and closes that the device holds; absent if 0. */
  readonly releasedMicro?: AmountMicro;
  readonly currency: number;
  readonly offerHash: Uint8Array;
  readonly timeS: number;
  readonly timeQuality: number;
}

const FIELDS: Codec<Payment> = message<Payment>(TYPE_PAYMENT, {
  line: [1, bytes(ID_BYTES)],
  approver: [2, bytes(ID_BYTES)],
  payee: [3, bytes(ID_BYTES)],
  counter: [4, U32],
  amountMicro: [5, AMOUNT],
  totalMicro: [6, AMOUNT],
  releasedMicro: [7, AMOUNT, 'optional'],
  currency: [8, U16],
  offerHash: [9, bytes(OFFER_HASH_BYTES)],
  timeS: [10, U32],
  timeQuality: [11, uint(3)],
});

/** What no honest device signs, whatever its state; undefined where the numbers can stand. */
function contradiction(payment: Payment): string | undefined {
  if (payment.counter === 0) return 'counter is 0';
  if (payment.amountMicro === 0n) return 'amount is 0';
  if (payment.totalMicro < payment.amountMicro) return 'total is below the amount';
  if (payment.releasedMicro === 0n) return 'released 0 must be absent';
  if ((payment.releasedMicro ?? 0n) > payment.totalMicro - payment.amountMicro) {
    return 'released is above what was paid before';
  }
  return undefined;
}

export const PAYMENT: Codec<Payment> = {
  type: TYPE_PAYMENT,
  encode: (value) => FIELDS.encode(value),
  decode(input: Uint8Array): Checked<Payment> {
    const decoded = FIELDS.decode(input);
    if (!decoded.ok) return decoded;
    const wrong = contradiction(decoded.value);
    return wrong === undefined ? accepted(decoded.value) : refused('MALFORMED', wrong);
  },
};
