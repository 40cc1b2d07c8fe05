import type { AmountMicro } from '../amount.ts';
import { HASH_BYTES } from '../ids.ts';
import { AMOUNT, bytes, message, U32, U8, type Codec } from '../schema.ts';
import { EPOCH_BYTES } from './offer.ts';
import { TYPE_RECEIPT } from './types.ts';

/** Receipt flags: bits 0–1 the approver's time quality, bit 2 stand-in, bit 3 online. */
export const FLAG_TIME_QUALITY = 0b11;
export const FLAG_STAND_IN = 0b100;

export const RECEIPT_NONCE_BYTES = 16;

/** Always "accepted" (DESIGN §3). The journalled payload is signed again, never rebuilt. */
export interface Receipt {
  readonly paymentHash: Uint8Array;
  readonly epoch: Uint8Array;
  /** One row over all epochs of this approver; Receipts and Voids share it. */
  readonly sequence: number;
  readonly timeS: number;
  readonly flags: number;
  readonly statusListVersion: number;
  /** Hides the leaf of this Receipt in the public log. */
  readonly nonce: Uint8Array;
  /** Stream close only. */
  readonly chargedMicro?: AmountMicro;
}

export const RECEIPT: Codec<Receipt> = message<Receipt>(TYPE_RECEIPT, {
  paymentHash: [1, bytes(HASH_BYTES)],
  epoch: [2, bytes(EPOCH_BYTES)],
  sequence: [3, U32],
  timeS: [4, U32],
  flags: [5, U8],
  statusListVersion: [6, U32],
  nonce: [7, bytes(RECEIPT_NONCE_BYTES)],
  chargedMicro: [8, AMOUNT, 'optional'],
});
