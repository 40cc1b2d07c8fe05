import type { AmountMicro } from '../amount.ts';
import { HASH_BYTES, ID_BYTES } from '../ids.ts';
import { AMOUNT, bytes, message, text, U16, U32, U53, type Codec } from '../schema.ts';
import { TYPE_OFFER } from './types.ts';

/** Challenge: approver's epoch 8 B ‖ nonce 8 B ‖ MAC 8 B. */
export const CHALLENGE_BYTES = 24;
export const EPOCH_BYTES = 8;

/** Priced once. Metered offers (unit price, most units, tick) are a later type number. */
export interface Offer {
  readonly payee: Uint8Array;
  readonly approver: Uint8Array;
  readonly challenge: Uint8Array;
  /** Milliseconds on the approver's monotonic clock in the challenge's epoch. */
  readonly acceptByMs: number;
  /** How long the payer may use it after it came, by the payer's own clock. */
  readonly lifetimeMs: number;
  /** ISO 4217 numeric. */
  readonly currency: number;
  readonly amountMicro: AmountMicro;
  readonly tariffHash: Uint8Array;
  readonly tariffVersion: number;
  /** Hash of the signed opening (and closing) meter reading where a meter priced it. */
  readonly readingHash?: Uint8Array;
  /** What is sold, or the lane. */
  readonly item?: string;
}

/** Signed by the payee's key. */
export const OFFER: Codec<Offer> = message<Offer>(TYPE_OFFER, {
  payee: [1, bytes(ID_BYTES)],
  approver: [2, bytes(ID_BYTES)],
  challenge: [3, bytes(CHALLENGE_BYTES)],
  acceptByMs: [4, U53],
  lifetimeMs: [5, U32],
  currency: [6, U16],
  amountMicro: [7, AMOUNT],
  tariffHash: [8, bytes(HASH_BYTES)],
  tariffVersion: [9, U32],
  readingHash: [10, bytes(HASH_BYTES), 'optional'],
  item: [11, text(64), 'optional'],
});
