import type { AmountMicro } from '../amount.ts';
import { HASH_BYTES } from '../ids.ts';
import { refusalCodeOf, REFUSALS, type RefusalCode } from '../refusal.ts';
import { AMOUNT, BOOL, bytes, message, U32, type Codec, type Field } from '../schema.ts';
import { EPOCH_BYTES } from './offer.ts';
import { RECEIPT_NONCE_BYTES } from './receipt.ts';
import { TYPE_REFUSAL } from './types.ts';

const CODE: Field<RefusalCode> = {
  name: 'refusal code',
  write: (code) => REFUSALS[code].number,
  read: (value) =>
    typeof value === 'bigint' && value <= 0xffffn ? refusalCodeOf(Number(value)) : undefined,
};

/**
 * Signed by the approver. `final` is a Void: epoch, sequence and nonce are present, it stands in
 * the journal, and the Payment can never be accepted. Otherwise the outcome stays unknown.
 */
export interface Refusal {
  /** SHA-256 of the Payment payload, or of the whole input where no payload could be found. */
  readonly paymentHash: Uint8Array;
  readonly code: RefusalCode;
  readonly final: boolean;
  readonly timeS: number;
  readonly retryAfterMs?: number;
  readonly epoch?: Uint8Array;
  readonly sequence?: number;
  readonly nonce?: Uint8Array;
  /** Last counter and total that this approver has seen on the line. */
  readonly lastCounter?: number;
  readonly lastTotalMicro?: AmountMicro;
}

export const REFUSAL: Codec<Refusal> = message<Refusal>(TYPE_REFUSAL, {
  paymentHash: [1, bytes(HASH_BYTES)],
  code: [2, CODE],
  final: [3, BOOL],
  timeS: [4, U32],
  retryAfterMs: [5, U32, 'optional'],
  epoch: [6, bytes(EPOCH_BYTES), 'optional'],
  sequence: [7, U32, 'optional'],
  nonce: [8, bytes(RECEIPT_NONCE_BYTES), 'optional'],
  lastCounter: [9, U32, 'optional'],
  lastTotalMicro: [10, AMOUNT, 'optional'],
});
