import type { AmountMicro } from '../amount.ts';
import { HASH_BYTES, ID_BYTES } from '../ids.ts';
import { AMOUNT, bytes, message, text, U32, type Codec } from '../schema.ts';
import { TYPE_CLOSE, TYPE_CREDIT } from './types.ts';

/** A refund, signed by the payee key that the Payment names; cumulative per Payment. */
export interface Credit {
  readonly paymentHash: Uint8Array;
  readonly refundedMicro: AmountMicro;
  readonly reason: string;
  readonly timeS: number;
}

export const CREDIT: Codec<Credit> = message<Credit>(TYPE_CREDIT, {
  paymentHash: [1, bytes(HASH_BYTES)],
  refundedMicro: [2, AMOUNT],
  reason: [3, text(64)],
  timeS: [4, U32],
});

/** The device's own end of an allowance: lets the issuer release the hold at once. */
export interface Close {
  readonly line: Uint8Array;
  readonly allowanceHash: Uint8Array;
  readonly lastCounter: number;
  readonly totalMicro: AmountMicro;
  readonly releasedMicro?: AmountMicro;
  readonly timeS: number;
}

export const CLOSE: Codec<Close> = message<Close>(TYPE_CLOSE, {
  line: [1, bytes(ID_BYTES)],
  allowanceHash: [2, bytes(HASH_BYTES)],
  lastCounter: [3, U32],
  totalMicro: [4, AMOUNT],
  releasedMicro: [5, AMOUNT, 'optional'],
  timeS: [6, U32],
});
