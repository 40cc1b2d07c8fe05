import type { AmountMicro } from '../../../protocol/amount.ts';
import { CLAIM_SUBJECT, claims, HEX_ID, type ClaimsCodec } from '../../../protocol/claims.ts';
import { HASH_BYTES, ID_BYTES } from '../../../protocol/ids.ts';
import { AMOUNT, bytes, U32, uint } from '../../../protocol/schema.ts';
import { CLAIM_ALLOWANCE, CURRENCY, periodFault, VALID, type Valid } from './standard.ts';

/** Default and longest validity (DESIGN §2). */
export const ALLOWANCE_VALIDITY_S: number = 96 * 3600;
export const MAX_ALLOWANCE_VALIDITY_S: number = 30 * 86_400;

/** Who bears what misbehaviour of a device costs; the honest merchant is paid either way. */
export const LOSS_BY_PARTY = 0;
export const LOSS_BY_ISSUER = 1;

interface OfLine extends Valid {
  /** `sub` is the line. */
  readonly line: Uint8Array;
}

/**
 * The value locked beforehand: a hold on credit that raises the line's ceiling, never a bearer
 * balance; the true balance is the centre's. Signed by the issuer.
 */
export interface Allowance extends OfLine {
  /** Counts up on the line; a higher one supersedes. */
  readonly generation: number;
  readonly currency: number;
  /** Highest cumulative net total (total − released) of the line. */
  readonly ceilingMicro: AmountMicro;
  /** Net total of the line that the limits below count from. */
  readonly baseMicro: AmountMicro;
  /** Above it, counted from the base: ask the issuer if there is a line. */
  readonly lowerMicro: AmountMicro;
  /** Above it, counted from the base: refuse. */
  readonly upperMicro: AmountMicro;
  readonly paymentLimitMicro: AmountMicro;
  /** Per payment, where the payee itself approves. */
  readonly directLimitMicro: AmountMicro;
  /** Highest `released` that approvers believe before clearing has checked it. */
  readonly releaseCapMicro: AmountMicro;
  /** Last counter that may be used. */
  readonly counterCeiling: number;
  /** Payload hash of the party's policy. */
  readonly policyHash: Uint8Array;
  /** Above this age of the status list: LIST_STALE. */
  readonly maxListAgeS: number;
  /** How long after a payment its receipt may still be handed in. */
  readonly handInDelayS: number;
  /** LOSS_BY_PARTY or LOSS_BY_ISSUER. */
  readonly lossRule: number;
  /** Id of the clearing key that settles this line. */
  readonly clearing: Uint8Array;
}

function contradiction(value: Allowance): string | undefined {
  if (value.baseMicro > value.ceilingMicro) return 'base total is above the ceiling';
  if (value.lowerMicro > value.upperMicro) return 'lower limit is above the upper limit';
  if (value.expiresS - value.notBeforeS > MAX_ALLOWANCE_VALIDITY_S) {
    return 'valid for more than 30 days';
  }
  return periodFault(value);
}

export const ALLOWANCE: ClaimsCodec<Allowance> = claims<OfLine, Allowance>(
  'kiri/allowance',
  CLAIM_ALLOWANCE,
  { ...VALID, line: [CLAIM_SUBJECT, HEX_ID] },
  {
    generation: [1, U32],
    currency: [2, CURRENCY],
    ceilingMicro: [3, AMOUNT],
    baseMicro: [4, AMOUNT],
    lowerMicro: [5, AMOUNT],
    upperMicro: [6, AMOUNT],
    paymentLimitMicro: [7, AMOUNT],
    directLimitMicro: [8, AMOUNT],
    releaseCapMicro: [9, AMOUNT],
    counterCeiling: [10, U32],
    policyHash: [11, bytes(HASH_BYTES)],
    maxListAgeS: [12, U32],
    handInDelayS: [13, U32],
    lossRule: [14, uint(LOSS_BY_ISSUER)],
    clearing: [15, bytes(ID_BYTES)],
  },
  contradiction,
);
