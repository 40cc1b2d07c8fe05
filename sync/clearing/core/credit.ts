import { invariant } from '../../../protocol/kiri-error.ts';
import type { LogPlace } from './ingest.ts';

/**
 * A payee's refund of one Payment after its signature was checked. It is cumulative: `refundedMicro` is everything given
 * back so far, so that a refund that comes twice, late or out of order counts once.
 */
export type VerifiedCredit = LogPlace & {
  readonly kind: 'credit';
  /** SHA-256 of the Credit's payload. */
  readonly creditHash: Uint8Array;
  readonly paymentHash: Uint8Array;
  readonly refundedMicro: bigint;
  /** The payee's words, at most 64 bytes. */
  readonly reason: string;
  /** The payee's time, bounded by the first cosignature; flagged where that had to stand for it. */
  readonly businessTimeS: number;
  readonly isTimeFlagged: boolean;
};

/** What the store knows of the Payment that a refund names. */
export type CreditFacts = {
  /**
   * `payable`: charged or on its way into a file. `held`: waits for L2, for a fork to be settled or for somebody's look.
   * `returned`: its line was given up or charged back in full. Absent: it has not come.
   */
  readonly original?: {
    readonly chargeMicro: bigint;
    readonly state: 'payable' | 'held' | 'returned';
  };
  /** A Void says that the payer is not charged. */
  readonly isVoided: boolean;
  /** The highest cumulative refund that was booked. */
  readonly bookedMicro: bigint;
  /** Refunds that wait for the same Payment, and whether this one is among them. */
  readonly waiting: number;
  readonly isWaiting: boolean;
};

/** Why a refund is not booked; it is listed, and holds up nothing else. */
export type CreditRefusal =
  'CREDIT_ABOVE_CHARGE' | 'CREDIT_FOR_VOID' | 'CREDIT_NOT_CHARGED' | 'CREDIT_WAITING_FULL';

export type CreditDecision =
  | { readonly kind: 'book'; readonly increaseMicro: bigint }
  | { readonly kind: 'nothing' }
  | { readonly kind: 'wait' }
  | { readonly kind: 'refused'; readonly code: CreditRefusal };

/** Refunds of one Payment that wait for it at most. */
export const WAITING_PER_PAYMENT_MAX = 16;
/** Refunds that wait in one store at most; what comes above it is listed with its place in the log. */
export const WAITING_CREDITS_MAX = 100_000;

/**
 * Decides on one refund. Only the increase over what was booked counts, never more than was charged in all; one above the
 * charge is refused as a whole, since nobody can say which part of it the payee meant.
 */
export const decideCredit = (
  { refundedMicro }: Pick<VerifiedCredit, 'refundedMicro'>,
  { original, isVoided, bookedMicro, waiting, isWaiting }: CreditFacts,
): CreditDecision => {
  if (refundedMicro <= bookedMicro) return { kind: 'nothing' };
  if (isVoided) return { kind: 'refused', code: 'CREDIT_FOR_VOID' };
  if (original && refundedMicro > original.chargeMicro) {
    return { kind: 'refused', code: 'CREDIT_ABOVE_CHARGE' };
  }
  if (original?.state === 'returned') return { kind: 'refused', code: 'CREDIT_NOT_CHARGED' };
  if (original?.state !== 'payable') {
    if (isWaiting) return { kind: 'nothing' };
    if (waiting >= WAITING_PER_PAYMENT_MAX) return { kind: 'refused', code: 'CREDIT_WAITING_FULL' };
    return { kind: 'wait' };
  }
  const increaseMicro = refundedMicro - bookedMicro;
  invariant(increaseMicro > 0n, 'credit: a refund of nothing is booked');
  return { kind: 'book', increaseMicro };
};
