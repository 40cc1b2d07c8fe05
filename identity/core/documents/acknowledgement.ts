import type { AmountMicro } from '../../../protocol/amount.ts';
import {
  CLAIM_SUBJECT,
  claims,
  HEX_ID,
  ISSUED,
  type ClaimsCodec,
  type Issued,
} from '../../../protocol/claims.ts';
import { AMOUNT, U32 } from '../../../protocol/schema.ts';
import { CLAIM_ACKNOWLEDGEMENT, CURRENCY } from './standard.ts';

interface OfApprover extends Issued {
  /** `sub`: whose receipts. */
  readonly approver: Uint8Array;
}

/**
 * What the centre has from one approver; releases the approver's unacknowledged sums, and nothing
 * else does (DESIGN §4). All figures are cumulative since the approver's first sequence, so a lost
 * or repeated one does no harm. Signed by the issuer or by its clearing.
 */
export interface Acknowledgement extends OfApprover {
  readonly currency: number;
  /** Every Receipt and Void up to and with this sequence is at the centre. */
  readonly throughSequence: number;
  /** Receipts (not Voids) up to there, and their sum. */
  readonly count: number;
  readonly sumMicro: AmountMicro;
}

export const ACKNOWLEDGEMENT: ClaimsCodec<Acknowledgement> = claims<OfApprover, Acknowledgement>(
  'kiri/acknowledgement',
  CLAIM_ACKNOWLEDGEMENT,
  { ...ISSUED, approver: [CLAIM_SUBJECT, HEX_ID] },
  {
    currency: [1, CURRENCY],
    throughSequence: [2, U32],
    count: [3, U32],
    sumMicro: [4, AMOUNT],
  },
);
